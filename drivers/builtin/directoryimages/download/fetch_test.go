package download_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages/download"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mebibyte = 1 << 20

// content is a file with data, zeros and data again.
func content(bytes int) []byte {
	all := make([]byte, bytes)
	for i := range all {
		if i < bytes/3 || i > bytes*2/3 {
			all[i] = byte(i*i>>9 + i + 1)
		}
	}
	return all
}

// fetching is a download in a test.
type fetching struct {
	download.Request
	path  string
	begun []download.Validator
}

func fetch(t testing.TB, url string) *fetching {
	t.Helper()
	f := &fetching{path: filepath.Join(t.TempDir(), "part")}
	file, err := os.Create(f.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	f.Request = download.Request{
		URL: url, Policy: policy(t, "127.0.0.0/8"), File: file,
		Limits: download.Limits{
			MaxBytes: 64 * mebibyte, Connect: 5 * time.Second, Answer: 5 * time.Second,
			Window: 10 * time.Second, SlowestBytes: 1,
		},
		Begin: func(v download.Validator) error {
			f.begun = append(f.begun, v)
			f.Known = v
			return nil
		},
		Room:     func(int64) error { return nil },
		Progress: func(int64, int64) {},
	}
	return f
}

func (f *fetching) run(t testing.TB) (download.Result, error) {
	t.Helper()
	return download.Fetch(t.Context(), f.Request)
}

// got checks what arrived.
func (f *fetching) got(t testing.TB, want []byte) {
	t.Helper()
	have, err := os.ReadFile(f.path)
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("%d bytes arrived, %v; want the %d that were sent", len(have), err, len(want))
	}
}

func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// versioned serves content with an ETag, ranges and all.
func versioned(all []byte, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		http.ServeContent(w, r, "disk", time.Time{}, bytes.NewReader(all))
	}
}

func expect(t testing.TB, err error, class driverpb.Class, code string) {
	t.Helper()
	if fault := sdk.FaultOf(err); fault.GetClass() != class || fault.GetCode() != code {
		t.Errorf("error = %v, want %v %q", err, class, code)
	}
}

const (
	invalid   = driverpb.Class_CLASS_INVALID
	denied    = driverpb.Class_CLASS_DENIED
	notFound  = driverpb.Class_CLASS_NOT_FOUND
	transient = driverpb.Class_CLASS_TRANSIENT
	exhausted = driverpb.Class_CLASS_EXHAUSTED
)

func TestFetch(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // must not be used
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	for name, size := range map[string]int{
		"empty": 0, "one byte": 1, "a piece": 256 << 10, "odd": 3*mebibyte + 17, "large": 20 * mebibyte,
	} {
		all := content(size)
		f := fetch(t, serve(t, versioned(all, `"one"`)))
		var last int64
		f.Progress = func(done, total int64) {
			if done <= last || total != int64(size) {
				t.Errorf("%s: progress %d of %d after %d", name, done, total, last)
			}
			last = done
		}
		result, err := f.run(t)
		if err != nil || result.Bytes != int64(size) || result.Resumed {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		f.got(t, all)
		if size > 10*mebibyte && last == 0 {
			t.Errorf("%s: no progress was told", name)
		}
	}
}

func TestZerosBecomeHoles(t *testing.T) {
	t.Parallel()
	all := append(append([]byte("begin"), make([]byte, 30*mebibyte)...), "end"...)
	for name, tail := range map[string]int{"data at the end": 0, "zeros at the end": 5 * mebibyte} {
		sent := append(bytes.Clone(all), make([]byte, tail)...)
		f := fetch(t, serve(t, versioned(sent, `"one"`)))
		if _, err := f.run(t); err != nil {
			t.Fatal(err)
		}
		f.got(t, sent)
		var taken int64
		if taken = allocated(t, f.path); taken > mebibyte {
			t.Errorf("%s: %d bytes are allocated for a file of zeros", name, taken)
		}
	}
}

// breaking sends the first part of content and breaks the connection, as long as it has breaks left.
func breaking(all []byte, etag string, breaks *atomic.Int32, requests *[]string, mutex *sync.Mutex) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		*requests = append(*requests, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
		mutex.Unlock()
		if breaks.Add(-1) < 0 {
			versioned(all, etag)(w, r)
			return
		}
		w.Header().Set("ETag", etag)
		begin := 0
		if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
			begin, _ = strconv.Atoi(strings.TrimSuffix(text, "-"))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", begin, len(all)-1, len(all)))
			w.Header().Set("Content-Length", strconv.Itoa(len(all)-begin))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(len(all)))
		}
		_, _ = w.Write(all[begin : begin+(len(all)-begin)/2])
		panic(http.ErrAbortHandler)
	}
}

func TestBrokenDownloadIsTakenUp(t *testing.T) {
	t.Parallel()
	all := content(8*mebibyte + 5)
	var breaks atomic.Int32
	breaks.Store(3)
	var requests []string
	var mutex sync.Mutex
	f := fetch(t, serve(t, breaking(all, `"one"`, &breaks, &requests, &mutex)))
	for range 3 {
		_, err := f.run(t)
		expect(t, err, transient, "download-broken")
	}
	result, err := f.run(t)
	if err != nil || !result.Resumed || result.Bytes != int64(len(all)) {
		t.Errorf("taking it up: %+v, %v", result, err)
	}
	f.got(t, all)
	if len(f.begun) != 1 || len(requests) != 4 || requests[0] != " " || !strings.HasSuffix(requests[3], `- "one"`) {
		t.Errorf("begun %d times, requests %q", len(f.begun), requests)
	}
}

func TestChangedFileBeginsAnew(t *testing.T) {
	t.Parallel()
	older, newer := content(4*mebibyte), bytes.Repeat([]byte("new "), mebibyte)
	for name, test := range map[string]struct{ first, second string }{
		"another version": {`"one"`, `"two"`},
		"weak version":    {`W/"one"`, `W/"one"`},
		"no version":      {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var breaks atomic.Int32
			breaks.Store(1)
			var requests []string
			var mutex sync.Mutex
			first := breaking(older, test.first, &breaks, &requests, &mutex)
			f := fetch(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				if breaks.Load() > 0 {
					first(w, r)
					return
				}
				versioned(newer, test.second)(w, r)
			}))
			_, err := f.run(t)
			expect(t, err, transient, "download-broken")
			result, err := f.run(t)
			if err != nil || result.Resumed {
				t.Errorf("the second time: %+v, %v", result, err)
			}
			f.got(t, newer)
		})
	}
}

func TestWholeFileIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	all := content(mebibyte)
	f := fetch(t, serve(t, versioned(all, `"one"`)))
	for range 2 { // the process was killed between download and verification
		if _, err := f.run(t); err != nil {
			t.Fatal(err)
		}
		f.got(t, all)
	}
}

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

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, code := range map[string]string{
		"file:///etc/passwd": "url-scheme", "ftp://127.0.0.1/x": "url-scheme", "gopher://127.0.0.1:70/": "url-scheme",
		"unix:///run/x.sock": "url-scheme", "/etc/passwd": "url-scheme", "": "url-scheme", "http:///x": "url-invalid",
		"http:opaque": "url-invalid", "http://[::1": "url-invalid", "http://a b/": "url-invalid",
		"http://%zz/": "url-invalid", "http://127.0.0.1/" + strings.Repeat("x", 3000): "url-invalid",
	} {
		_, err := fetch(t, url).run(t)
		if fault := sdk.FaultOf(err); fault.GetCode() != code || fault.GetField() != "/url" {
			t.Errorf("%.60q: %v, want %s", url, err, code)
		}
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	all := content(1000)
	mux := http.NewServeMux()
	url := serve(t, mux.ServeHTTP)
	mux.HandleFunc("/file", versioned(all, `"one"`))
	for from, to := range map[string]string{
		"/1": "/file", "/2": "/1", "/3": "/2", "/4": "/3", "/loop": "/loop",
		"/passwd": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/file", "/nothing": "", "/bad": "http://%zz/",
		"/metadata": "http://169.254.169.254/latest/meta-data/", "/inside": "http://10.0.0.1/",
		"/other": "http://[::1]:80/", "/mapped": "http://[::ffff:192.168.0.1]/", "/zero": "http://0.0.0.0:80/",
	} {
		mux.HandleFunc(from, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		})
	}
	for path, want := range map[string]struct {
		class driverpb.Class
		code  string
	}{
		"/1": {}, "/2": {}, "/3": {}, "/4": {invalid, "too-many-redirects"}, "/loop": {invalid, "too-many-redirects"},
		"/passwd": {invalid, "url-scheme"}, "/ftp": {invalid, "url-scheme"}, "/nothing": {invalid, "redirect-invalid"},
		"/bad":      {invalid, "redirect-invalid"},
		"/metadata": {denied, "egress-blocked"}, "/inside": {denied, "egress-blocked"},
		"/other": {denied, "egress-blocked"}, "/mapped": {denied, "egress-blocked"}, "/zero": {denied, "egress-blocked"},
	} {
		f := fetch(t, url+path)
		_, err := f.run(t)
		if want.code == "" {
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			f.got(t, all)
			continue
		}
		expect(t, err, want.class, want.code)
	}
	one := fetch(t, url+"/2")
	one.Policy.Redirects = 1
	_, err := one.run(t)
	expect(t, err, invalid, "too-many-redirects")
}

func TestBlockedAddresses(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	url := serve(t, func(http.ResponseWriter, *http.Request) { served.Add(1) })
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "0.0.0.0",
		"[::]", "0",
	} {
		f := fetch(t, "http://"+host+":"+port+"/")
		f.Policy = policy(t)
		_, err := f.run(t)
		switch fault := sdk.FaultOf(err); fault.GetCode() {
		case "egress-blocked":
			if strings.Contains(fault.GetMessage(), "127.0.0.1") && host == "localhost" {
				t.Errorf("the fault tells what a name resolves to: %s", fault.GetMessage())
			}
		case "host-unknown", "unreachable": // numbers that are no addresses to Go, nor names
		default:
			t.Errorf("%s: %v", host, err)
		}
	}
	if served.Load() > 0 {
		t.Errorf("%d connections went through", served.Load())
	}
}

// TestRebinding has a name that is allowed when it is asked for first and leads elsewhere when it is asked for again.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/again", http.StatusFound)
	})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	f := fetch(t, "http://rebind.test:"+port+"/")
	f.Policy = policy(t, "127.0.0.1/32")
	f.Resolver = nameServer(t, [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 2})
	_, err = f.run(t)
	expect(t, err, denied, "egress-blocked")
	if hits.Load() != 1 {
		t.Errorf("%d requests were served, want the first alone", hits.Load())
	}
}

// nameServer answers each question for an address with the next of these, and then with the last again.
func nameServer(t testing.TB, answers ...[4]byte) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = socket.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		packet := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(packet)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(packet[:n]) != nil || len(message.Questions) == 0 {
				continue
			}
			question := message.Questions[0]
			message.Response, message.Additionals = true, nil
			if question.Type == dnsmessage.TypeA {
				message.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class},
					Body:   &dnsmessage.AResource{A: answers[0]},
				}}
				answers = answers[min(1, len(answers)-1):]
			}
			if packed, err := message.Pack(); err == nil {
				_, _ = socket.WriteTo(packed, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func TestUnknownHost(t *testing.T) {
	t.Parallel()
	f := fetch(t, "http://nowhere.invalid/")
	f.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	_, err := f.run(t)
	expect(t, err, transient, "unreachable")
}

func TestCredentialsStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-and-more"
	var elsewhere, here atomic.Value
	other := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		elsewhere.Store(r.Header.Get("Authorization") + r.Header.Get("Referer") + r.Header.Get("Cookie"))
	})
	other = strings.Replace(other, "127.0.0.1", "127.0.0.9", 1) // the server listens on 127.0.0.1 alone: unreachable
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		here.Store(password)
		http.Redirect(w, r, other+"/?presigned="+secret, http.StatusFound)
	})
	f := fetch(t, strings.Replace(first, "http://", "http://admin:"+secret+"@", 1)+"/disk?signature="+secret)
	_, err := f.run(t)
	if err == nil {
		t.Fatal("an unreachable server was reached")
	}
	if got, _ := here.Load().(string); got != secret {
		t.Errorf("the first server got the password %q", got)
	}
	fault := sdk.FaultOf(err)
	for _, text := range []string{err.Error(), fault.GetMessage(), fault.GetRemedy()} {
		if strings.Contains(text, secret) {
			t.Errorf("a fault repeats a secret: %s", text)
		}
	}
}

func TestCredentialsAreNotForwarded(t *testing.T) {
	t.Parallel()
	var seen atomic.Value
	other := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization") + r.Header.Get("Referer") + r.Header.Get("Cookie"))
	})
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=secret")
		http.Redirect(w, r, other, http.StatusFound)
	})
	f := fetch(t, strings.Replace(first, "http://", "http://admin:secret@", 1))
	if _, err := f.run(t); err != nil {
		t.Fatal(err)
	}
	if got, _ := seen.Load().(string); got != "" {
		t.Errorf("the second server was told %q", got)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	all := content(5000)
	plain := serve(t, versioned(all, `"one"`))
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain, http.StatusFound)
			return
		}
		versioned(all, `"one"`)(w, r)
	}))
	t.Cleanup(secure.Close)
	_, err := fetch(t, secure.URL).run(t)
	expect(t, err, denied, "tls-untrusted")
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	trusting := fetch(t, secure.URL)
	trusting.Roots = roots
	if _, err := trusting.run(t); err != nil {
		t.Fatal(err)
	}
	trusting.got(t, all)
	down := fetch(t, secure.URL+"/down")
	down.Roots = roots
	_, err = down.run(t)
	expect(t, err, invalid, "redirect-insecure")
	_, err = fetch(t, strings.Replace(plain, "http:", "https:", 1)).run(t)
	expect(t, err, denied, "tls-untrusted")
}
