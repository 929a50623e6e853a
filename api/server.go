package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// NewServer makes an HTTP server for a handler with limits that a slow or greedy
// caller can't get around. The handler moves the deadlines of single requests.
// When the server is shut down, event streams, consoles and requests that wait
// for an operation end at once, so that Shutdown has not to wait for them.
func NewServer(handler http.Handler, log *slog.Logger) *http.Server {
	closing := make(chan struct{})
	base := context.WithValue(context.Background(), closingKey{}, (<-chan struct{})(closing))
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: ordinary, WriteTimeout: ordinary,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: readableHeader,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return base },
	}
	server.RegisterOnShutdown(sync.OnceFunc(func() { close(closing) }))
	return server
}

type closingKey struct{}

// closing is closed when the server that a request came through shuts down; nil
// if there is no such server.
func closing(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(closingKey{}).(<-chan struct{})
	return c
}

// untilClosing is ctx, ended also when the server shuts down.
func untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	end := closing(ctx)
	if end == nil {
		return ctx, cancel
	}
	go func() {
		select {
		case <-end:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
