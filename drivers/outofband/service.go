package outofband

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Driver is what a protocol gives to be served.
type Driver struct {
	Limits Limits
	// Dial makes the controller of a call; it need not connect yet.
	Dial func(ctx context.Context, call *driverpb.Call, s Settings) (Controller, error)
	// Ready tells what keeps the driver from working at all, as a fault; nil = nothing.
	Ready func() error
	// WorkDir is where it is noted how far a CyclePower has come.
	WorkDir string
}

// Service serves the out-of-band category and the driver's part of Base.
type Service struct {
	driverpb.UnimplementedOutOfBandServer
	driver Driver
	notes  notes
}

var (
	_ driverpb.OutOfBandServer = (*Service)(nil)
	_ sdk.Resources            = (*Service)(nil)
)

// Serve makes the service of a driver.
func Serve(d Driver) *Service {
	return &Service{driver: d, notes: openNotes(d.WorkDir)}
}

// session is a call that speaks to its controller, whose identity is checked.
type session struct {
	Controller
	settings Settings
	facts    map[string]string
}

// open refuses what is not about a host, reaches its controller and makes sure that it is the right one.
func (s *Service) open(ctx context.Context, call *driverpb.Call) (*session, error) {
	if kind := call.GetResource().GetKind(); kind != kindHost {
		return nil, sdk.Invalid("wrong-kind", "/call/resource/kind", fmt.Sprintf("want a host, got a %q", kind), "")
	}
	settings, err := ReadSettings(call, s.driver.Limits)
	if err != nil {
		return nil, err
	}
	if s.driver.Ready != nil {
		if err := s.driver.Ready(); err != nil {
			return nil, err
		}
	}
	controller, err := s.driver.Dial(ctx, call, settings)
	if err != nil {
		return nil, err
	}
	identity, err := controller.Identify(ctx, settings.wanted())
	if err == nil {
		err = identity.check(settings)
	}
	if err != nil {
		controller.Close()
		return nil, err
	}
	return &session{Controller: controller, settings: settings, facts: identity.Facts}, nil
}

// ask asks for the power, and says when.
func (c *session) ask(ctx context.Context) (*driverpb.PowerReply, error) {
	at := time.Now()
	power, err := c.Power(ctx)
	if err != nil {
		return nil, err
	}
	return &driverpb.PowerReply{Power: power, ObservedAtMs: at.UnixMilli(), Facts: c.facts}, nil
}

// StatPower implements driverpb.OutOfBandServer.
func (s *Service) StatPower(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	controller, err := s.open(ctx, r.GetCall())
	if err != nil {
		return nil, err
	}
	defer controller.Close()
	return controller.ask(ctx)
}

// PowerOff implements driverpb.OutOfBandServer.
func (s *Service) PowerOff(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	controller, err := s.open(ctx, r.GetCall())
	if err != nil {
		return nil, err
	}
	defer controller.Close()
	return controller.turn(ctx, Off)
}

// PowerOn implements driverpb.OutOfBandServer.
func (s *Service) PowerOn(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	controller, err := s.open(ctx, r.GetCall())
	if err != nil {
		return nil, err
	}
	defer controller.Close()
	return controller.turn(ctx, On)
}

// CyclePower implements driverpb.OutOfBandServer. What was reached is noted, so that a process that takes the call up
// after this one goes on and does not begin again.
func (s *Service) CyclePower(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	controller, err := s.open(ctx, r.GetCall())
	if err != nil {
		return nil, err
	}
	defer controller.Close()
	note := s.notes.of(r.GetCall())
	if !note.reached(stageOff) {
		if _, err := controller.turn(ctx, Off); err != nil {
			return nil, err
		}
		if err := note.write(stageOff); err != nil {
			return nil, err
		}
	}
	sdk.Progress(ctx, 50, "the power is off")
	if note.reached(stageOn) {
		return controller.ask(ctx)
	}
	reply, err := controller.turn(ctx, On)
	if err != nil {
		return nil, err
	}
	return reply, note.write(stageOn)
}

// ShutDownHost implements driverpb.OutOfBandServer.
func (s *Service) ShutDownHost(
	ctx context.Context, r *driverpb.ShutDownHostRequest,
) (*driverpb.PowerReply, error) {
	controller, err := s.open(ctx, r.GetCall())
	if err != nil {
		return nil, err
	}
	defer controller.Close()
	controller.settings.Confirm = time.Duration(r.GetGraceMs()) * time.Millisecond
	return controller.turn(ctx, ShutDown)
}

// Configure implements sdk.Resources. The driver has no settings of its own.
func (s *Service) Configure(context.Context, map[string]any, map[string]string) error { return nil }

// Probe implements sdk.Resources. Of a host it tells whether its controller could be used now.
func (s *Service) Probe(ctx context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	var err error
	switch {
	case call.GetResource().GetId() != "":
		_, err = s.StatPower(ctx, &driverpb.PowerRequest{Call: call})
	case s.driver.Ready != nil:
		err = s.driver.Ready()
	}
	fault := sdk.FaultOf(err)
	switch {
	case err == nil:
		return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}, nil
	case fault == nil:
		return nil, err
	}
	reason := fault.GetMessage()
	if fault.GetRemedy() != "" {
		reason += ": " + fault.GetRemedy()
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_UNREADY, Reason: reason}, nil
}

// Adopt implements sdk.Resources. There is nothing to take over: all is in the properties.
func (s *Service) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

// Release implements sdk.Resources. Nothing is held between calls.
func (s *Service) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

// Observe implements sdk.Resources. A controller knows of nothing inside its host.
func (s *Service) Observe(_ context.Context, call *driverpb.Call, _ func(*driverpb.Observed) error) error {
	kind := call.GetResource().GetKind()
	return sdk.Invalid("not-a-scope", "/call/resource/kind", "nothing can be observed in a "+kind, "")
}
