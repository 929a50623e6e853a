package download_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages/download"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestServersThatLieAboutRanges(t *testing.T) {
	t.Parallel()
	all := content(mebibyte)
	for name, header := range map[string]string{
		"other begin":  fmt.Sprintf("bytes 0-%d/%d", len(all)-1, len(all)),
		"short end":    fmt.Sprintf("bytes 1000-2000/%d", len(all)),
		"no total":     "bytes 1000-2000/*",
		"none":         "",
		"huge numbers": "bytes 99999999999999999999-99999999999999999999/99999999999999999999",
		"negative":     "bytes -5--1/10",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fetch(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") == "" {
					versioned(all, `"one"`)(w, r)
					return
				}
				w.Header().Set("ETag", `"one"`)
				if header != "" {
					w.Header().Set("Content-Range", header)
				}
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(all[:1000])
			}))
			if _, err := f.File.Write(all[:1000]); err != nil {
				t.Fatal(err)
			}
			f.Known = download.Validator{ETag: `"one"`}
			_, err := f.run(t)
			expect(t, err, transient, "range-wrong")
			if _, err := f.run(t); err != nil {
				t.Errorf("the next time: %v", err)
			}
			f.got(t, all)
		})
	}
}

func TestSizeLimits(t *testing.T) {
	t.Parallel()
	endless := func(w http.ResponseWriter, _ *http.Request) {
		block := bytes.Repeat([]byte("x"), mebibyte)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	zeros := func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, mebibyte)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	for name, handler := range map[string]http.HandlerFunc{
		"announced": versioned(content(3*mebibyte), `"one"`), "endless": endless, "endless zeros": zeros,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fetch(t, serve(t, handler))
			f.Limits.MaxBytes = 2 * mebibyte
			_, err := f.run(t)
			expect(t, err, invalid, "too-large")
			if taken := allocated(t, f.path); taken > 3*mebibyte {
				t.Errorf("%d bytes were written", taken)
			}
		})
	}
	f := fetch(t, serve(t, versioned(content(2*mebibyte), `"one"`)))
	f.Limits.MaxBytes = 2 * mebibyte
	if _, err := f.run(t); err != nil {
		t.Errorf("exactly the limit: %v", err)
	}
}

func TestRoomIsAskedFor(t *testing.T) {
	t.Parallel()
	full := sdk.Exhausted("no-space", "full", "")
	f := fetch(t, serve(t, versioned(content(2*mebibyte), `"one"`)))
	f.Room = func(bytes int64) error {
		if bytes != 2*mebibyte {
			t.Errorf("asked for room for %d bytes", bytes)
		}
		return full
	}
	_, err := f.run(t)
	expect(t, err, exhausted, "no-space")
}

func TestLyingContentLength(t *testing.T) {
	t.Parallel()
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}
	for name, test := range map[string]struct{ answer, code string }{
		"too long":     {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort", "download-broken"},
		"broken chunk": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", "download-broken"},
		"negative":     {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabcde", "unreachable"},
		"two lengths":  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", "unreachable"},
		"no http":      {"220 welcome to ftp\r\n", "unreachable"},
		"silence":      {"", "unreachable"},
	} {
		f := fetch(t, serve(t, raw(test.answer)))
		_, err := f.run(t)
		if sdk.FaultOf(err).GetCode() != test.code {
			t.Errorf("%s: %v, want %s", name, err, test.code)
		}
	}
	// What comes behind the announced length is not read.
	f := fetch(t, serve(t, raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcdefgh")))
	if _, err := f.run(t); err != nil {
		t.Fatal(err)
	}
	f.got(t, []byte("abcde"))
}

func TestSlowServers(t *testing.T) {
	t.Parallel()
	dribble := func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			_ = control.Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	stuck := func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(content(mebibyte))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		code    string
	}{
		"a byte at a time": {dribble, "download-too-slow"},
		"stuck":            {stuck, "download-too-slow"},
		"silent":           {silent, "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fetch(t, serve(t, test.handler))
			f.Limits.Answer = 200 * time.Millisecond
			f.Limits.Window, f.Limits.SlowestBytes = 300*time.Millisecond, 1000
			_, err := f.run(t)
			expect(t, err, transient, test.code)
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	f := fetch(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(content(6 * mebibyte))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	f.Progress = func(int64, int64) { cancel() }
	_, err := download.Fetch(ctx, f.Request)
	if !errors.Is(err, context.Canceled) || sdk.FaultOf(err) != nil {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]struct {
		class driverpb.Class
		code  string
	}{
		404: {notFound, "url-not-found"}, 410: {notFound, "url-not-found"},
		401: {denied, "url-denied"}, 403: {denied, "url-denied"},
		500: {transient, "server-busy"}, 503: {transient, "server-busy"}, 429: {transient, "server-busy"},
		400: {invalid, "url-refused"}, 204: {invalid, "url-refused"}, 300: {invalid, "url-refused"},
	} {
		f := fetch(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, err := f.run(t)
		expect(t, err, want.class, want.code)
	}
}

func TestCompressedAnswerIsRefusedAndNotUnpacked(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, _ = zip.Write(make([]byte, 10*mebibyte))
	_ = zip.Close()
	f := fetch(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding: %s", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	_, err := f.run(t)
	expect(t, err, invalid, "content-encoded")
	plain := fetch(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	if _, err := plain.run(t); err != nil {
		t.Fatal(err)
	}
	plain.got(t, bomb.Bytes())
}
