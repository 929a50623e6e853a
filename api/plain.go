package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the caller may be gone
}

func serveDocument(document []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		w.Header().Set("Content-Length", strconv.Itoa(len(document)))
		_, _ = w.Write(document) // the caller may be gone
	}
}

// ready answers whether requests can be served here.
func (a *API) ready(w http.ResponseWriter, r *http.Request) {
	err := a.health.Ready(r.Context())
	if err == nil {
		writeText(w, http.StatusOK, "ready\n")
		return
	}
	// Nobody has to prove who it is here, so the reason goes to the log alone.
	a.log.WarnContext(r.Context(), "not ready", slog.Any("error", err))
	a.refuse(w, r, &resources.Error{
		Class: resources.ClassUnavailable, Code: "not-ready", Message: "this node can't serve requests now",
		Remedy: "look at its log, or ask another node",
	})
}

// serveMetrics lets readers scrape.
func (a *API) serveMetrics(w http.ResponseWriter, r *http.Request) {
	// They are this node's alone, and wanted most while it is cut off.
	e := door.Entry{Permission: door.To(door.VerbGet, door.KindMetrics), Consistency: Consistency{Stale: true}}
	if _, err := a.enter(r, e); err != nil {
		a.refuse(w, r, err)
		return
	}
	a.metrics.ServeHTTP(w, r)
}

// explain is the page that a problem's type points to.
func (a *API) explain(w http.ResponseWriter, r *http.Request) {
	class := resources.Class(r.PathValue("class"))
	m, ok := a.meanings[class]
	if !ok {
		a.refuse(w, r, &resources.Error{
			Class: resources.ClassNotFound, Code: "no-such-class", Message: "there is no such class of failures",
			Remedy: "look at the Class schema in /docs",
		})
		return
	}
	writeText(w, http.StatusOK, fmt.Sprintf("%s (%s, HTTP %d)\n\n%s\n", m.title, class, m.status, m.advice))
}
