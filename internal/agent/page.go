package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/bulkhead-cloud/bulkhead/internal/metrics"
)

// pageTimeout is how long a reader of the figures has for what it says, and for taking the answer.
const pageTimeout = 10 * time.Second

// page serves the figures of the agent and of its drivers.
type page struct {
	server *http.Server
	served chan error
	where  net.Addr
}

// openPage serves the figures where they are wanted.
func (a *Agent) openPage(ctx context.Context) error {
	if a.config.MetricsListen == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.config.MetricsListen)
	if err != nil {
		return fmt.Errorf("serving the figures: %w", err)
	}
	figures := metrics.Plain(a.config.Version)
	figures.Also(a.drivers.Families)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", figures.Handler())
	a.page = &page{where: l.Addr(), served: make(chan error, 1), server: &http.Server{
		Handler: mux, ReadTimeout: pageTimeout, WriteTimeout: pageTimeout, MaxHeaderBytes: 8 << 10,
	}}
	go func() { a.page.served <- a.page.server.Serve(l) }() // ends with close
	return nil
}

// close ends the page, if there is one.
func (p *page) close() error {
	if p == nil {
		return nil
	}
	err := p.server.Close()
	if served := <-p.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Metrics is where the figures are served; nil = nowhere.
func (a *Agent) Metrics() net.Addr {
	if a.page == nil {
		return nil
	}
	return a.page.where
}
