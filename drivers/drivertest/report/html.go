package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed report.html.tmpl
var page string

// WriteHTML writes the report as a page that needs nothing else.
func (r Report) WriteHTML(to io.Writer) error {
	made, err := template.New("report").Parse(page)
	if err != nil {
		return fmt.Errorf("reading the page of the report: %w", err)
	}
	err = made.Execute(to, struct {
		Report
		Passed, Failed, NotApplicable int
		Contract                      []Judged
	}{r, r.Count(Passed), r.Count(Failed), r.Count(NotApplicable), r.Sentences()})
	if err != nil {
		return fmt.Errorf("writing the report as HTML: %w", err)
	}
	return nil
}
