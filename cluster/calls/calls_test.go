package calls_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/bulkhead-cloud/bulkhead/cluster/calls"
	"github.com/bulkhead-cloud/bulkhead/cluster/clustertest"
)

// TestAMemberThatEndsBehindACut ends a member whose farewell does not get through, though what is sent to it would.
func TestAMemberThatEndsBehindACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := clustertest.NewHub()
		near, far := hub.Network("near"), hub.Network("far")
		listener, err := far.Listener("calls")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer(calls.ServerOptions()...)
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		links := calls.NewLinks(func(ctx context.Context, node, at string) (net.Conn, error) {
			return near.Dial(ctx, "calls", node, at)
		})
		defer links.Close()
		conn, err := links.To("far", "far")
		if err != nil {
			t.Fatal(err)
		}
		ask := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		hub.Cut("far", "near")
		server.Stop()
		_ = far.Close()
		<-served
		for range 3 {
			if err := ask(); err == nil {
				t.Error("a member that ended answered")
			}
		}
		hub.Heal()
	})
}
