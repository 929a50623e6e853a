package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bulkhead-cloud/bulkhead/api/door"
)

// Backups writes the zone's whole state as it is now, while it goes on.
type Backups interface {
	Backup(ctx context.Context, w io.Writer) error
}

// backupType is what a backup is: bytes that "bulkhead restore" reads.
const backupType = "application/octet-stream"

func (a *API) backup() {
	r := route{
		id: "create-backup", method: http.MethodGet, path: "/v1/backup", tag: "Zone", summary: "Back the zone up",
		about: "Streams the whole state of the zone as it is now: one file that a new server can be made from. It " +
			"holds everything, digests of tokens included: keep it where the server's own data may be kept. A stream " +
			"that ends early is broken off, and its content is no backup.",
		permission: door.To(door.VerbGet, door.KindBackup),
	}
	op := r.operation()
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The backup", Content: map[string]*huma.MediaType{
			backupType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		},
	}}
	registerOperation(a, op, func(context.Context, door.Grant, *struct{}) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: a.writeBackup}, nil
	})
}

func (a *API) writeBackup(hc huma.Context) {
	_, w := humago.Unwrap(hc)
	w.Header().Set("Content-Type", backupType)
	w.Header().Set("Content-Disposition", `attachment; filename="zone.bulkhead"`)
	if err := a.backups.Backup(hc.Context(), &patientWriter{w: w, stalled: a.streams.Stalled}); err != nil {
		a.log.ErrorContext(hc.Context(), "backing up failed", slog.Any("error", err))
		panic(http.ErrAbortHandler) //nolint:forbidigo // the only way to say so once bytes were sent
	}
}

// patientWriter takes as long as the caller needs to read, as long as the caller
// reads at all: who holds a backup open holds the state as it was.
type patientWriter struct {
	w       http.ResponseWriter
	stalled time.Duration
}

// chunk is how much is written under one deadline.
const chunk = 64 << 10

// Write implements io.Writer.
func (p *patientWriter) Write(data []byte) (n int, err error) {
	control := http.NewResponseController(p.w)
	for part := range slices.Chunk(data, chunk) {
		_ = control.SetWriteDeadline(time.Now().Add(p.stalled)) // not every writer has one
		written, err := p.w.Write(part)
		n += written
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
