package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

func (n *Node) serve(listener net.Listener) error {
	spool, err := newSpool(filepath.Join(n.config.DataDir, "uploads"), n.config.DataGID)
	if err != nil {
		return err
	}
	log := n.config.Log.With(slog.String("component", "api"))
	a, err := api.New(api.Options{
		Version: n.config.Version, Engine: n.system.Engine(), Drivers: n.drivers, Health: n, Uploads: spool, Backups: n,
		Reader:  &reader{machine: n.machine, engine: n.system.Engine(), drivers: n.drivers},
		Metrics: n.metrics.Handler(), Log: log, Limits: n.config.Limits,
	})
	if err != nil {
		return fmt.Errorf("making the API: %w", err)
	}
	n.server = api.NewServer(a.Handler(), log)
	go func() {
		err := n.server.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		n.served <- err
	}()
	return nil
}

// Ready implements api.Health.
func (n *Node) Ready(ctx context.Context) error {
	return clusterError(n.cluster.Ready(ctx))
}

// Close stops serving, ends work at its next step boundary and closes the state.
// Drivers and guests run on.
func (n *Node) Close(ctx context.Context) error {
	var errs []error
	if n.server != nil {
		errs = append(errs, n.server.Shutdown(ctx))
	}
	if n.system != nil {
		errs = append(errs, n.system.Stop(ctx))
	}
	if n.host != nil {
		n.host.Close()
	}
	if n.cluster != nil {
		errs = append(errs, n.cluster.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// StopDrivers ends the driver processes too, in the reverse order of their start.
// Guests run on.
func (n *Node) StopDrivers(ctx context.Context) error {
	var errs []error
	for _, i := range n.host.Instances() {
		errs = append(errs, n.host.Stop(ctx, i.Name()))
	}
	return errors.Join(errs...)
}

func categories(m host.Manifest) []string {
	names := make([]string, 0, len(m.Categories))
	for _, c := range m.Categories {
		names = append(names, categoryName(c.String()))
	}
	return names
}
