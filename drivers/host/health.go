package host

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// watchHealth asks a running process whether it lives and can work, until ctx ends. A process that does not answer
// so many times in a row is reported as sick.
func (i *Instance) watchHealth(ctx context.Context, current *run, sick chan<- error) {
	checks := i.host.config.Health
	ticker := time.NewTicker(checks.Every)
	defer ticker.Stop()
	misses := 0
	for {
		live := i.check(ctx, current)
		if ctx.Err() != nil {
			return
		}
		misses++
		if live {
			misses = 0
		}
		if misses >= checks.Misses && !current.unconfined() { // else it may stand at a breakpoint
			sick <- fmt.Errorf("the process did not answer %d health checks in a row", misses)
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// check asks for life first and for readiness second, so that a driver whose backend hangs is not taken for dead.
func (i *Instance) check(ctx context.Context, current *run) (live bool) {
	found := Health{At: time.Now(), Readiness: driverpb.ProbeReply_HEALTH_UNREADY}
	defer func() {
		if ctx.Err() == nil {
			i.change(func() { i.health = found })
		}
	}()
	asking, cancel := context.WithTimeout(ctx, i.host.config.Health.Timeout)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(current.conn).Check(asking, &grpc_health_v1.HealthCheckRequest{})
	if !answered(err) {
		found.Reason = "the process does not answer: " + status.Convert(err).Message()
		return false
	}
	found.Live = true
	reply, err := driverpb.NewBaseClient(current.conn).Probe(asking, &driverpb.ProbeRequest{})
	if err != nil {
		found.Reason = "the driver's probe failed: " + status.Convert(err).Message()
		return true
	}
	found.Readiness, found.Reason = reply.GetHealth(), reply.GetReason()
	return true
}

// answered reports whether a process answered at all: a driver need not serve the health service, and libraries differ
// in how they say so. Python's grpclib says it without a content type, which is no status that gRPC knows.
func answered(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return false
	default:
		return true
	}
}
