package docs

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"path"
)

//go:embed index.html style.css start.js redoc.standalone.js redoc.LICENSE redoc.standalone.LICENSE.txt
var files embed.FS

// policy lets the page load what is served beside it and nothing else. Redoc
// writes styles into the page and searches in a worker made of a blob.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self'; connect-src 'self'; worker-src blob:; child-src blob:; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'"

// farLogo is a picture that Redoc loads from a host of its maker: neither an
// air-gapped network nor the policy lets it.
const farLogo = "https://cdn.redoc.ly/redoc/logo-mini.svg"

// Handler serves /docs and what is below. It fails if a file is missing from the
// binary.
func Handler() (http.Handler, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("reading the embedded documentation: %w", err)
	}
	mux := http.NewServeMux()
	for _, e := range entries {
		content, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, fmt.Errorf("reading the embedded documentation: %w", err)
		}
		content = bytes.ReplaceAll(content, []byte(farLogo), []byte("data:,"))
		pattern := "/docs/" + e.Name()
		if e.Name() == "index.html" {
			pattern = "/docs"
		}
		mux.Handle(pattern, serve(e.Name(), content))
	}
	mux.Handle("/docs/", http.RedirectHandler("/docs", http.StatusFound))
	return mux, nil
}

func serve(name string, content []byte) http.HandlerFunc {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = "text/plain; charset=utf-8"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", kind)
		_, _ = w.Write(content) // the caller may be gone
	}
}
