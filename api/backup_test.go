package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// anyone is who backups may be for.
type anyone struct{}

func (anyone) CheckRecipients([]string) error { return nil }

type brokenBackups struct{ anyone }

func (brokenBackups) Backup(_ context.Context, w io.Writer, _ []string) error {
	if _, err := w.Write([]byte("the first half")); err != nil {
		return err
	}
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	return errors.New("the disk broke")
}

// ask asks a real server for a backup, and answers when that has begun.
func ask(t *testing.T, s *site) (*http.Response, error) {
	t.Helper()
	server := httptest.NewServer(s.api.Handler())
	t.Cleanup(server.Close)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token("backup", resources.RoleAdmin, noTime))
	return http.DefaultClient.Do(request)
}

// download reads all of a backup.
func download(t *testing.T, s *site) (string, error) {
	t.Helper()
	answer, err := ask(t, s)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	return string(data), err
}

func TestABackupIsWholeOrBrokenOff(t *testing.T) {
	got, err := download(t, newSite(t))
	if err != nil || got != apitest.BackupContent {
		t.Errorf("backup = %q, %v", got, err)
	}
	_, err = download(t, newSite(t, func(o *api.Options, _ *apitest.Zone) { o.Backups = brokenBackups{} }))
	if err == nil {
		t.Error("a backup that failed half-way looks whole")
	}
}

// endlessBackups write until they can't any more, and say why.
type endlessBackups struct {
	anyone
	ended chan error
}

func (b endlessBackups) Backup(_ context.Context, w io.Writer, _ []string) error {
	for {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			b.ended <- err
			return err
		}
	}
}

func TestABackupNobodyReadsIsGivenUp(t *testing.T) {
	backups := endlessBackups{ended: make(chan error, 1)}
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) {
		o.Backups, o.Streams.Stalled = backups, 200*time.Millisecond
	})
	answer, err := ask(t, s)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	// One who reads slowly, but reads, is served for longer than it takes to give a stalled one up.
	for began := time.Now(); time.Since(began) < time.Second; {
		if _, err := io.ReadFull(answer.Body, make([]byte, 1<<20)); err != nil {
			t.Fatalf("while it was read: %v", err)
		}
	}
	select {
	case err := <-backups.ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a backup nobody reads ends with %v", err)
		}
	case <-t.Context().Done():
		t.Error("a backup nobody reads goes on")
	}
}

// Who is to read a backup is checked before any of it is sent.
func TestABackupIsForItsRecipients(t *testing.T) {
	s := newSite(t)
	get := func(query string) *answer {
		t.Helper()
		return s.do(request{method: http.MethodGet, path: "/v1/backup" + query, as: admin})
	}
	const shell = "ssh-ed25519 AAAA+/=="
	a := get("?recipient=age1a," + url.QueryEscape(shell)).want(http.StatusOK)
	if string(a.raw) != apitest.SealedFor+"age1a,"+shell {
		t.Errorf("it is %q", a.raw)
	}
	if name := a.header.Get("Content-Disposition"); !strings.Contains(name, `"zone.bulkhead.age"`) {
		t.Errorf("it is called %s", name)
	}
	if a = get("").want(http.StatusOK); string(a.raw) != apitest.BackupContent {
		t.Errorf("without recipients it is %q", a.raw)
	}
	for query, c := range map[string]struct{ pointer, code string }{
		"?recipient=age1a,somebody,age1b": {"/recipient/1", "bad-recipient"},
		"?recipient=age1a,":               {"/recipient/1", "bad-recipient"},
		// A variable of a script that is not set: never a backup in the clear.
		"?recipient=": {"/recipient/0", "bad-recipient"},
		"?recipient":  {"/recipient/0", "bad-recipient"},
		"?recipient=" + strings.Repeat("age1a,", 16) + "age1a": {"/recipient", "too-many"},
		"?recipient=age1a&recipient=age1b":                     {"/recipient", "duplicate"},
		"?recipients=age1a":                                    {"/recipients", "unknown-parameter"},
	} {
		a := get(query).problem(http.StatusUnprocessableEntity, "validation-failed").field("query", c.pointer, c.code)
		if strings.Contains(string(a.raw), apitest.BackupContent) || a.body["help"] == "" {
			t.Errorf("%s: %s", query, a.raw)
		}
	}
}
