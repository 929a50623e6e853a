package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

const (
	// cutTime is what canceled calls get to come to an end.
	cutTime = 5 * time.Second
	// farewellTime is what the last answers get to leave.
	farewellTime = time.Second
)

// ServeListener serves d on l until Shutdown or until ctx ends, when running calls are canceled; it closes l. The
// Attend stream goes to host, which may be nil when the driver asks nothing of its host.
func ServeListener(ctx context.Context, l net.Listener, d Driver, host *HostLink) error {
	return serve(ctx, l, d, host, serveOptions{log: slog.New(slog.DiscardHandler)})
}

type serveOptions struct {
	log       *slog.Logger
	token     string
	uids      []int
	orphanTTL time.Duration
	termGrace time.Duration // what running calls get when ctx ends
}

// service is one driver being served.
type service struct {
	server   *grpc.Server
	guard    *guard
	unattend chan struct{}
	stop     chan ending
	once     sync.Once
}

// ending is why a process ends, and what running calls get before it does.
type ending struct {
	reason string
	grace  time.Duration
}

func serve(ctx context.Context, l net.Listener, d Driver, link *HostLink, options serveOptions) error {
	if err := d.check(); err != nil {
		return errors.Join(err, l.Close())
	}
	if link == nil {
		link = NewHostLink()
	}
	s := &service{
		guard:    newGuard(&d, options.log, options.token),
		unattend: make(chan struct{}),
		stop:     make(chan ending, 1),
	}
	orphan := &orphanWatch{ttl: options.orphanTTL, busy: s.guard.busy, expired: func() {
		s.requestStop(ending{reason: "no host was connected for too long"})
	}}
	defer orphan.stop()
	s.server = grpc.NewServer(
		grpc.Creds(&peerCheck{uids: options.uids, connected: orphan.connected, gone: orphan.gone}),
		grpc.UnaryInterceptor(s.guard.unary),
		grpc.StreamInterceptor(s.guard.stream),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.WaitForHandlers(false),
	)
	s.register(&d, link)
	orphan.begin()
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(l) }()
	log := options.log.With(slog.String("driver", d.Name), slog.String("version", d.Version))
	log.Info("serving")
	end := ending{reason: "a signal", grace: options.termGrace}
	select {
	case err := <-served:
		return fmt.Errorf("serving %s: %w", d.Name, err)
	case end = <-s.stop:
	case <-ctx.Done():
	}
	log.Info("ending", slog.String("reason", end.reason))
	s.end(end.grace)
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serving %s: %w", d.Name, err)
	}
	return nil
}

func (s *service) register(d *Driver, link *HostLink) {
	driverpb.RegisterBaseServer(s.server, &observer{
		base: &base{
			driver: d, memory: s.guard.memory, link: link, unattend: s.unattend,
			shutdown: func(grace time.Duration) { s.requestStop(ending{reason: "its host asked for it", grace: grace}) },
		},
		guard: s.guard,
	})
	if d.Storage != nil {
		driverpb.RegisterStorageServer(s.server, d.Storage)
	}
	if d.Images != nil {
		driverpb.RegisterImagesServer(s.server, d.Images)
	}
	if d.Hypervisor != nil {
		driverpb.RegisterHypervisorServer(s.server, d.Hypervisor)
	}
	if d.Networks != nil {
		driverpb.RegisterNetworksServer(s.server, d.Networks)
	}
	if d.OutOfBand != nil {
		driverpb.RegisterOutOfBandServer(s.server, d.OutOfBand)
	}
	grpc_health_v1.RegisterHealthServer(s.server, health.NewServer())
}

// requestStop asks for the end; the first one counts.
func (s *service) requestStop(e ending) {
	s.once.Do(func() { s.stop <- e })
}

// end lets running calls finish within grace, answers who still waits, and stops.
func (s *service) end(grace time.Duration) {
	s.guard.busy.drain(grace, cutTime)
	close(s.unattend)
	left := make(chan struct{})
	go func() {
		s.server.GracefulStop()
		close(left)
	}()
	timer := time.NewTimer(farewellTime)
	defer timer.Stop()
	select {
	case <-left:
	case <-timer.C:
		s.server.Stop()
		<-left
	}
}
