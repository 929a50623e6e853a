package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

func (n *Node) serve(listener net.Listener) error {
	log := n.config.Log.With(slog.String("component", "api"))
	var developing api.Developing
	if n.config.Development {
		developing = n
	}
	bound := newUses(n.machine)
	a, err := api.New(api.Options{
		Developing: developing,
		Version:    n.config.Version, Engine: n.system.Engine(), Health: n, Uploads: n.spool,
		Backups: n, Archives: n,
		Drivers:  &validator{n.drivers, &n.secrets.Keeper, n.machine, n.fleet(), bound},
		Bindings: newBindings(n.machine),
		Cluster:  &nodes{n},
		Reader: &reader{
			machine: n.machine, cluster: n.cluster, engine: n.system.Engine(), drivers: n.drivers, agents: n.agents,
			tokens: &tokens{machine: n.machine}, uses: bound,
		},
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
	n.handOver(ctx)
	n.closing.Store(true)
	n.chores.end()
	if n.server != nil {
		errs = append(errs, n.stopServing(ctx))
	}
	if n.system != nil {
		errs = append(errs, n.system.Stop(ctx))
	}
	if n.drivers != nil {
		n.drivers.Close()
	}
	if n.cluster != nil {
		errs = append(errs, n.cluster.Close())
	}
	if n.network != nil {
		errs = append(errs, n.agents.close(), n.network.close(ctx))
	}
	if n.shelf != nil {
		errs = append(errs, n.shelf.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// servingGrace is how long requests may go on when the node closes, at most half of
// the time there is: what reads the state must have let go of it before it closes.
const servingGrace = 10 * time.Second

// stopServing lets requests end, and cuts those off that do not: one that a caller
// does not read the answer of never would.
func (n *Node) stopServing(ctx context.Context) error {
	grace := servingGrace
	if end, bounded := ctx.Deadline(); bounded {
		grace = min(grace, time.Until(end)/2)
	}
	patience, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err := n.server.Shutdown(patience)
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	n.config.Log.Warn("requests that did not end in time are cut off")
	return n.server.Close()
}

// StopDrivers ends the driver processes too, in the reverse order of their start.
// Guests run on.
func (n *Node) StopDrivers(ctx context.Context) error {
	return n.drivers.Stop(ctx)
}

func categories(m host.Manifest) []string {
	names := make([]string, 0, len(m.Categories))
	for _, c := range m.Categories {
		names = append(names, categoryName(c.String()))
	}
	return names
}

// categoryName turns CATEGORY_OUT_OF_BAND into out-of-band.
func categoryName(enum string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(enum, "CATEGORY_")), "_", "-")
}
