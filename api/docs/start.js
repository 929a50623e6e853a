const plain = "system-ui, sans-serif";
Redoc.init("/openapi.json", {
  hideDownloadButton: false,
  expandResponses: "200,202",
  requiredPropsFirst: true,
  sortTagsAlphabetically: false,
  theme: { typography: { fontFamily: plain, headings: { fontFamily: plain } } },
}, document.getElementById("redoc"));
