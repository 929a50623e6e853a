package download_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

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
