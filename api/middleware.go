package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/api/schema"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// ordinary is how long a request that waits for nothing may take to read and to
// write.
const ordinary = 30 * time.Second

// recorder remembers what was answered, for the access log.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach flush, hijack and deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// observe gives each request an id, deadlines and safe headers, survives its
// panics, and logs it. Queries are not logged: they can hold tickets.
func (a *API) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := a.now()
		rec := &recorder{ResponseWriter: w}
		c := newCall(rec, r)
		ctx := context.WithValue(r.Context(), callKey{}, c)
		r = r.WithContext(ctx)
		c.request = r
		c.allow(ordinary, ordinary)
		protect(rec.Header(), c.requestID)
		defer func() {
			a.recovered(ctx, rec, recover())
			a.log.LogAttrs(ctx, slog.LevelInfo, "request",
				slog.String("request_id", c.requestID), slog.String("method", r.Method), slog.String("route", r.Pattern),
				slog.String("path", r.URL.Path), slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes),
				slog.Duration("duration", a.now().Sub(began)), slog.String("principal", c.principal),
				slog.String("source", c.source))
		}()
		next.ServeHTTP(rec, r)
	})
}

func (a *API) recovered(ctx context.Context, rec *recorder, cause any) {
	if cause == nil {
		return
	}
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's own way to cut a connection
	}
	p := a.newProblem(ctx, fmt.Errorf("panic: %v\n%s", cause, debug.Stack()))
	if rec.status == 0 {
		p.write(rec)
	}
}

func protect(h http.Header, requestID string) {
	h.Set(requestIDHeader, requestID)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
}

// sameOrigin refuses what another site has a browser send.
func (a *API) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.refuse(w, r, &resources.Error{
			Class: resources.ClassDenied, Code: "cross-origin", Message: "a page of another origin may not change anything here",
			Remedy: "send the request from the same origin or not from a browser",
		})
	}))
	return protection.Handler(next)
}

// refuse answers a request outside of huma with an error.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	a.newProblem(r.Context(), err).write(w)
}

type grantKey struct{}

// admit is what every operation passes first: it recognises the caller, limits
// how fast it is, waits for a state as fresh as the caller wants it, and gets the
// grant for the operation's permission. Without a permission nothing passes.
func (a *API) admit(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	e := door.Entry{ID: ctx.Param("id")}
	e.Permission, _ = ctx.Operation().Metadata[permissionKey].(door.Permission)
	var wrong error
	if reads(r.Method) {
		e.Consistency, wrong = takeConsistency(r.URL)
	}
	if wrong == nil {
		wrong = checkQuery(r.URL.RawQuery)
	}
	g, err := a.enter(r, e)
	if err == nil {
		err = wrong // who is not let in is not told what else is wrong
	}
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	callFrom(r.Context()).consistency = e.Consistency
	next(huma.WithValue(ctx, grantKey{}, g))
}

// enter recognises the caller of a request and asks the door for a grant. Who this
// node does not know may have a token that was made on another just now.
func (a *API) enter(r *http.Request, e door.Entry) (door.Grant, error) {
	c := callFrom(r.Context())
	e.Authorization = r.Header.Get("Authorization")
	var err error
	e.Principal, err = a.door.Authenticate(r.Context(), e.Authorization)
	switch {
	case err == nil:
		c.principal = e.Principal.String()
		if !a.principals.take(e.Principal.ID()) {
			return door.Grant{}, throttled()
		}
	case !a.strangers.take(neighbourhood(c.source)):
		return door.Grant{}, throttled() // those behind the same proxy who are known go on
	case resources.ClassOf(err) != resources.ClassUnauthenticated:
		return door.Grant{}, err
	}
	g, err := a.door.Enter(r.Context(), e)
	if err == nil {
		c.principal = g.Principal().String()
	}
	return g, err
}

func throttled() error {
	return &resources.Error{
		Class: resources.ClassThrottled, Code: "throttled", Message: "too many requests", Remedy: "slow down, then try again",
	}
}

// checkQuery refuses queries that two readers could read differently.
func checkQuery(raw string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return &resources.Error{
			Class: resources.ClassInvalid, Code: "malformed-query", Message: "the query can't be read",
			Remedy: "escape reserved characters with %",
		}
	}
	e := invalid()
	for name, v := range values {
		if len(v) > 1 {
			e.Fields = append(e.Fields, inParameter("query", name, "duplicate", "is given more than once"))
		}
	}
	if len(e.Fields) > 0 {
		return e
	}
	return nil
}

// unmatched answers what no route matches: 405 where another method would do,
// else 404.
func (a *API) unmatched(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			other := r.Clone(r.Context())
			other.Method = method
			if _, pattern := mux.Handler(other); pattern != "/" && pattern != "" {
				allowed = append(allowed, method)
			}
		}
		if len(allowed) == 0 {
			a.refuse(w, r, noSuchRoute())
			return
		}
		use := strings.Join(allowed, ", ")
		w.Header().Set("Allow", use)
		p := a.newProblem(r.Context(), &resources.Error{
			Class: resources.ClassUnsupported, Code: "method-not-allowed", Message: "this path does not know the method",
			Remedy: "use " + use,
		})
		p.Status = http.StatusMethodNotAllowed
		p.write(w)
	}
}

// syntaxProblem says what is wrong with a body that can't be read at all.
func (a *API) syntaxProblem(ctx context.Context, err error) error {
	s, ok := errors.AsType[*schema.SyntaxError](err)
	if !ok {
		return err
	}
	p := a.newProblem(ctx, &resources.Error{
		Class: resources.ClassInvalid, Code: s.Code, Message: s.Message, Remedy: "send one JSON object in UTF-8",
	})
	p.Status = http.StatusBadRequest
	return p
}
