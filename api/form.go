package api

import (
	"net/http"
	"path"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// maxHeader is the largest head of a request that is served.
	maxHeader = 32 << 10
	// readableHeader is the largest head that is read at all. What is larger, and what
	// is no HTTP, the HTTP server refuses by itself, in plain text.
	readableHeader = 4 * maxHeader
)

// wellFormed refuses what the mux, or a reader further in, would answer in its own
// way: heads that are too large, and paths that are written in a roundabout way,
// which the mux would redirect.
func (a *API) wellFormed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case headSize(r) > maxHeader:
			p := a.newProblem(r.Context(), &resources.Error{
				Class: resources.ClassTooLarge, Code: "head-too-large",
				Message: "path, query and header fields are larger than 32 KiB together", Remedy: "send less of them",
			})
			p.Status = http.StatusRequestHeaderFieldsTooLarge
			p.write(w)
		case !straight(r.URL.EscapedPath()):
			a.refuse(w, r, noSuchRoute())
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func noSuchRoute() error {
	return &resources.Error{
		Class: resources.ClassNotFound, Code: "no-such-route", Message: "there is nothing at this path",
		Remedy: "look at /docs or /openapi.json for what there is",
	}
}

// headSize is about what the head of a request takes on the wire.
func headSize(r *http.Request) int {
	n := len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// straight reports whether a path has no empty segment, "." or "..".
func straight(p string) bool {
	clean := path.Clean(p)
	return p != "" && p[0] == '/' && (p == clean || p == clean+"/")
}

// answered keeps back the answer of something that would refuse a request in its
// own words.
type answered struct {
	http.ResponseWriter
	refused int // status; 0 = none
}

// WriteHeader implements http.ResponseWriter.
func (w *answered) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *answered) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController and websocket reach what is below.
func (w *answered) Unwrap() http.ResponseWriter { return w.ResponseWriter }
