package download

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Validator is what the server said about the version of a file, for taking a download up again.
type Validator struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
}

// ifRange is the condition under which a server may send the rest; empty when it gave no strong validator.
func (v Validator) ifRange() string {
	if v.ETag != "" {
		return v.ETag
	}
	return v.LastModified
}

// Request is one file to fetch.
type Request struct {
	URL    string
	Policy Policy
	Limits Limits
	// Resolver finds hosts and Roots vouch for them; nil = the host's own.
	Resolver *net.Resolver
	Roots    *x509.CertPool
	// File takes the content. What it holds already is the beginning of it, as Known vouches.
	File  *os.File
	Known Validator
	// Begin is called before content is written, with what vouches for it.
	Begin func(Validator) error
	// Room refuses when there is no space for this many bytes more.
	Room func(bytes int64) error
	// Progress is told how many bytes of how many are there; total is 0 when it is not known.
	Progress func(done, total int64)
}

// Fetch fetches a file. After a fault of class TRANSIENT, or the end of ctx, a further call takes up where it ended:
// resumed tells that it began with content of an earlier call.
func Fetch(ctx context.Context, request Request) (resumed bool, err error) {
	target, err := parseURL(request.URL)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	transport := request.transport()
	defer transport.CloseIdleConnections()
	response, err := request.ask(ctx, transport, target)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	begin, total, err := request.read(response, target.Hostname())
	if err != nil {
		return false, err
	}
	body := &watched{body: response.Body}
	stop := body.watch(request.Limits, cancel)
	defer stop()
	end, err := request.save(ctx, body, begin, total)
	if err != nil {
		return false, bodyFault(ctx, target.Hostname(), err)
	}
	if total > 0 && end != total {
		return false, sdk.Transient("download-incomplete",
			fmt.Sprintf("%s sent %d of %d bytes", target.Hostname(), end, total))
	}
	return begin > 0, nil
}

// ask asks for the file, or the rest of it if the server vouches that it is still the same.
func (r *Request) ask(ctx context.Context, transport *http.Transport, target *url.URL) (*http.Response, error) {
	info, err := r.File.Stat()
	if err != nil {
		return nil, diskdir.Fault(err, "looking at the download")
	}
	header := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {userAgent}, "Accept": {"*/*"}}
	if have := info.Size(); have > 0 && r.Known.ifRange() != "" {
		header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		header.Set("If-Range", r.Known.ifRange())
	}
	response, err := follow(ctx, transport, target, header, r.Policy.Redirects)
	if err != nil || response.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		return response, err
	}
	// What is there is the whole file or more; the server does not say which. Ask for all of it.
	_ = response.Body.Close()
	header.Del("Range")
	header.Del("If-Range")
	return follow(ctx, transport, target, header, r.Policy.Redirects)
}

var contentRange = regexp.MustCompile(`^bytes (\d{1,18})-(\d{1,18})/(\d{1,18})$`)

// read reads the head of an answer: where its content begins and how long the file is, 0 when that is not known.
func (r *Request) read(response *http.Response, host string) (begin, total int64, err error) {
	if err := statusFault(response.StatusCode, host); err != nil {
		return 0, 0, err
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return 0, 0, sdk.Invalid("content-encoded", URLField, host+" sends the file compressed though it was not asked to",
			"give a URL that is served as it is")
	}
	total = max(response.ContentLength, 0)
	if response.StatusCode == http.StatusPartialContent {
		if begin, total, err = r.rangeOf(response, host); err != nil {
			return 0, 0, err
		}
	}
	if total > r.Limits.MaxBytes {
		return 0, 0, r.tooLarge()
	}
	if err := r.Room(max(total-begin, 0)); err != nil {
		return 0, 0, err
	}
	if begin > 0 {
		return begin, total, nil
	}
	if err := r.File.Truncate(0); err != nil {
		return 0, 0, diskdir.Fault(err, "beginning the download")
	}
	return 0, total, r.Begin(validatorOf(response))
}

// rangeOf checks that a partial answer is the part that was asked for.
func (r *Request) rangeOf(response *http.Response, host string) (begin, total int64, err error) {
	info, err := r.File.Stat()
	if err != nil {
		return 0, 0, diskdir.Fault(err, "looking at the download")
	}
	match := contentRange.FindStringSubmatch(response.Header.Get("Content-Range"))
	if match != nil {
		begin, _ = strconv.ParseInt(match[1], 10, 64)
		total, _ = strconv.ParseInt(match[3], 10, 64)
	}
	last := int64(-1)
	if match != nil {
		last, _ = strconv.ParseInt(match[2], 10, 64)
	}
	if match == nil || begin != info.Size() || last != total-1 || begin > last {
		if err := r.File.Truncate(0); err != nil { // not to ask the same again
			return 0, 0, diskdir.Fault(err, "beginning the download anew")
		}
		return 0, 0, sdk.Transient("range-wrong", host+" sent another part of the file than it was asked for")
	}
	return begin, total, nil
}

// validatorOf takes what vouches strongly: a weak ETag does not promise the same bytes, and a date only when the file
// had not just been changed.
func validatorOf(response *http.Response) Validator {
	if etag := response.Header.Get("ETag"); etag != "" && !strings.HasPrefix(etag, "W/") && len(etag) <= 256 {
		return Validator{ETag: etag}
	}
	modified, err := http.ParseTime(response.Header.Get("Last-Modified"))
	if err != nil {
		return Validator{}
	}
	sent, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil || sent.Sub(modified) < time.Minute {
		return Validator{}
	}
	return Validator{LastModified: response.Header.Get("Last-Modified")}
}

func (r *Request) tooLarge() error {
	return sdk.Invalid("too-large", "/maxBytes", fmt.Sprintf("the file is larger than %d bytes", r.Limits.MaxBytes),
		"raise maxBytes, if the file is the right one")
}

func statusFault(status int, host string) error {
	message := fmt.Sprintf("%s answers with status %d", host, status)
	fault := func(class driverpb.Class, code, remedy string) error {
		return sdk.FromFault(&driverpb.Fault{
			Class: class, Code: code, Field: URLField, Message: message, Remedy: remedy,
		})
	}
	switch {
	case status == http.StatusOK || status == http.StatusPartialContent:
		return nil
	case status == http.StatusNotFound || status == http.StatusGone:
		return fault(driverpb.Class_CLASS_NOT_FOUND, "url-not-found", "check the URL")
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fault(driverpb.Class_CLASS_DENIED, "url-denied", "give a URL that needs no login")
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return sdk.Transient("server-busy", message)
	}
	return fault(driverpb.Class_CLASS_INVALID, "url-refused", "check the URL")
}

const (
	pieceBytes  = 256 << 10
	blockBytes  = 4 << 10
	roomEvery   = 64 << 20
	reportEvery = 4 << 20
)

// save writes a body behind what is there. Blocks of zeros become holes.
func (r *Request) save(ctx context.Context, body *watched, at, total int64) (int64, error) {
	piece := make([]byte, pieceBytes)
	roomAt, reported := at+roomEvery, at
	for {
		n, readErr := io.ReadFull(body, piece)
		if at+int64(n) > r.Limits.MaxBytes {
			return 0, r.tooLarge()
		}
		if err := writeSparse(r.File, piece[:n], at); err != nil {
			return 0, diskdir.Fault(err, "writing the download")
		}
		at += int64(n)
		if at >= roomAt && total == 0 {
			roomAt = at + roomEvery
			if err := r.Room(roomEvery); err != nil {
				return 0, err
			}
		}
		if at-reported >= reportEvery {
			reported = at
			r.Progress(at, total)
		}
		if readErr == nil {
			continue
		}
		// The end, or the place to take it up again: trailing zeros were not written.
		if err := r.File.Truncate(at); err != nil {
			return 0, diskdir.Fault(err, "writing the download")
		}
		if body.complete() {
			return at, context.Cause(ctx)
		}
		return 0, readErr
	}
}

// writeSparse writes all blocks that are not zero; the file has none of them yet.
func writeSparse(file *os.File, content []byte, at int64) error {
	for begin := 0; begin < len(content); {
		end := min(begin+blockBytes, len(content))
		if isZero(content[begin:end]) {
			begin = end
			continue
		}
		for end < len(content) && !isZero(content[end:min(end+blockBytes, len(content))]) {
			end = min(end+blockBytes, len(content))
		}
		if _, err := file.WriteAt(content[begin:end], at+int64(begin)); err != nil {
			return fmt.Errorf("writing at byte %d: %w", at+int64(begin), err)
		}
		begin = end
	}
	return nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

var errTooSlow = errors.New("the server sends too slowly")

// watched is a body that counts what comes and ends the call when too little does.
type watched struct {
	body io.Reader
	got  atomic.Int64
	end  error
}

// Read implements io.Reader.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.body.Read(b)
	w.got.Add(int64(n))
	if err != nil {
		w.end = err
	}
	return n, err
}

// complete tells whether the body ended the way it should.
func (w *watched) complete() bool {
	return errors.Is(w.end, io.EOF) && !errors.Is(w.end, io.ErrUnexpectedEOF)
}

// watch looks after each window how much came.
func (w *watched) watch(limits Limits, cancel context.CancelCauseFunc) (stop func()) {
	ticker := time.NewTicker(limits.Window)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for last := int64(0); ; {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			now := w.got.Load()
			if now-last < limits.SlowestBytes {
				cancel(errTooSlow)
				return
			}
			last = now
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
		<-ended
	}
}

// bodyFault makes a fault of a body that broke off.
func bodyFault(ctx context.Context, host string, err error) error {
	switch cause := context.Cause(ctx); {
	case sdk.FaultOf(err) != nil:
		return err
	case errors.Is(cause, errTooSlow):
		return sdk.Transient("download-too-slow", host+" sends too slowly")
	case cause != nil:
		return fmt.Errorf("downloading from %s: %w", host, cause)
	}
	return sdk.Transient("download-broken", host+" broke off before the end of the file")
}
