package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Backups writes the zone's whole state as it is now, while it goes on.
type Backups interface {
	// CheckRecipients fails if a backup can't be encrypted to these public keys, with a *resources.Error of class
	// invalid, whose fields' pointers are relative to the list ("/0").
	CheckRecipients(recipients []string) error
	// Backup writes the state to w, encrypted to recipients that were checked; in the clear if there are none. What it
	// wrote is whole only if the error is nil.
	Backup(ctx context.Context, w io.Writer, recipients []string) error
}

type backupParams struct {
	Recipients []string `query:"recipient" maxItems:"16" doc:"Public keys that the backup is encrypted to, separated by commas: age1..., ssh-ed25519 or ssh-rsa. Absent means that it is not encrypted."`
}

// backupType is what a backup is: bytes that "bulkhead restore" reads.
const backupType = "application/octet-stream"

func (a *API) backup() {
	r := route{
		id: "create-backup", method: http.MethodGet, path: "/v1/backup", tag: "Zone", summary: "Back the zone up",
		about: "Streams the whole state of the zone as it is now: one file that a new server can be made from. It " +
			"holds everything, user data of machines and digests of tokens included. With recipients " +
			"the server encrypts it while it writes it (age-encryption.org/v1), so that only they can read it; without, " +
			"keep it where the server's own data may be kept. Secrets of drivers and of what they serve are sealed in it; " +
			"the keys are in it only if it is encrypted. A stream that ends early is broken off, and its content " +
			"is no backup.",
		permission: door.To(door.VerbGet, door.KindBackup),
	}
	op := r.operation()
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The backup", Content: map[string]*huma.MediaType{
			backupType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		},
	}}
	registerOperation(a, op, func(ctx context.Context, _ door.Grant, in *backupParams) (*huma.StreamResponse, error) {
		if err := a.checkRecipients(ctx, in.Recipients); err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) { a.writeBackup(hc, in.Recipients) }}, nil
	})
}

// checkRecipients refuses what can't be encrypted to while it can still be said. A
// parameter without a value is a mistake too: who meant somebody by it must not be
// answered in the clear.
func (a *API) checkRecipients(ctx context.Context, recipients []string) error {
	if len(recipients) == 0 {
		if r := callFrom(ctx).request; r == nil || !r.URL.Query().Has("recipient") {
			return nil
		}
		recipients = []string{""}
	}
	err := a.backups.CheckRecipients(recipients)
	wrong, ok := errors.AsType[*resources.Error](err)
	if !ok {
		return err
	}
	placed := *wrong
	placed.Fields = slices.Clone(wrong.Fields)
	for i, f := range placed.Fields {
		placed.Fields[i].Pointer = "query:/recipient" + f.Pointer
	}
	return &placed
}

func (a *API) writeBackup(hc huma.Context, recipients []string) {
	name := "zone.bulkhead"
	if len(recipients) > 0 {
		name += ".age"
	}
	_, w := humago.Unwrap(hc)
	w.Header().Set("Content-Type", backupType)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	patient := &patientWriter{w: w, stalled: a.streams.Stalled}
	if err := a.backups.Backup(hc.Context(), patient, recipients); err != nil {
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
