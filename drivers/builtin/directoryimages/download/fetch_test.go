package download_test

import (
	"bytes"
	"fmt"
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

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages/download"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mebibyte = 1 << 20

// content is a file with data, zeros and data again.
func content(size int) []byte {
	all := make([]byte, size)
	for i := range all {
		if i < size/3 || i > size*2/3 {
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

func (f *fetching) run(t testing.TB) (resumed bool, err error) {
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
		resumed, err := f.run(t)
		if err != nil || resumed {
			t.Errorf("%s: resumed %t, %v", name, resumed, err)
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
	resumed, err := f.run(t)
	if err != nil || !resumed {
		t.Errorf("taking it up: resumed %t, %v", resumed, err)
	}
	f.got(t, all)
	if len(f.begun) != 1 || len(requests) != 4 || requests[0] != " " || !strings.HasSuffix(requests[3], `- "one"`) {
		t.Errorf("begun %d times, requests %q", len(f.begun), requests)
	}
}

func TestChangedFileBeginsAnew(t *testing.T) {
	t.Parallel()
	older, newer := content(4*mebibyte), bytes.Repeat([]byte("new "), mebibyte)
	for name, test := range map[string]struct {
		first, second string
		asks          bool // whether the rest may be asked for
	}{
		"another version": {`"one"`, `"two"`, true},
		"weak version":    {`W/"one"`, `W/"one"`, false},
		"no version":      {"", "", false},
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
				if asked := r.Header.Get("Range") != ""; asked != test.asks {
					t.Errorf("the rest is asked for: %v, want %v", asked, test.asks)
				}
				versioned(newer, test.second)(w, r)
			}))
			_, err := f.run(t)
			expect(t, err, transient, "download-broken")
			resumed, err := f.run(t)
			if err != nil || resumed {
				t.Errorf("the second time: resumed %t, %v", resumed, err)
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
