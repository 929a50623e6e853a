package enginetest

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Call is a call that the engine made of the driver.
type Call struct {
	Method string
	// Product and Version of the driver that was asked.
	Product, Version string
	// Token, Repeat, Epoch and Resource are those of the contract's Call; none for calls about the process alone.
	Token    string
	Repeat   bool
	Epoch    uint64
	Resource resources.Ref
	// At is when it was made, Took how long it took, and Err what was answered to the engine.
	At   time.Time
	Took time.Duration
	Err  error
	// Met is what the script did to it; "" = nothing.
	Met What
}

// Changes reports whether the call was made to change something.
func (c Call) Changes() bool {
	return c.Token != "" && !sdk.Reads(c.Method) && c.Method != "Recall" && !strings.Contains(c.Token, "/care")
}

// Scripted is a fault that was scripted.
type Scripted struct {
	fault Fault
	log   *log
	count int
	met   int
	over  bool
}

// Met tells how often it happened.
func (s *Scripted) Met() int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.met
}

// Stop lets it happen no more.
func (s *Scripted) Stop() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.over = true
}

// log is what passed the border, and the script of what is to go wrong there.
type log struct {
	mu     sync.Mutex
	calls  []Call
	script []*Scripted
}

func (l *log) add(f Fault) *Scripted {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &Scripted{fault: f, log: l}
	l.script = append(l.script, s)
	return s
}

// enter writes a call down, and says what is to go wrong with it.
func (l *log) enter(c Call) (at int, met *Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.script {
		if s.over || s.fault.Product != c.Product || s.fault.Method != c.Method && (s.fault.Method != "" || !c.Changes()) {
			continue
		}
		s.count++
		if met == nil && (s.fault.Call == 0 || s.fault.Call == s.count) {
			s.met++
			met, c.Met = &s.fault, s.fault.What
		}
	}
	l.calls = append(l.calls, c)
	return len(l.calls) - 1, met
}

func (l *log) leave(at int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.calls[at]
	c.Took, c.Err = time.Since(c.At), err
}

func (l *log) all() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// border is what the engine takes for the connection to a driver.
type border struct {
	zone    *Zone
	process *process
}

// Invoke implements grpc.ClientConnInterface.
func (b *border) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	at, met := b.zone.log.enter(b.call(method, args))
	err := b.pass(ctx, met, func() error {
		life := b.process.running()
		if life == nil {
			return lost()
		}
		return life.conn.Invoke(ctx, method, args, reply, opts...)
	})
	if message, ok := reply.(proto.Message); ok && err != nil {
		proto.Reset(message) // what nobody heard
	}
	b.zone.log.leave(at, err)
	return err
}

// NewStream implements grpc.ClientConnInterface. A fault of a stream is met when it is opened.
func (b *border) NewStream(
	ctx context.Context, about *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (stream grpc.ClientStream, err error) {
	at, met := b.zone.log.enter(b.call(method, nil))
	err = b.pass(ctx, met, func() (err error) {
		life := b.process.running()
		if life == nil {
			return lost()
		}
		stream, err = life.conn.NewStream(ctx, about, method, opts...)
		return err
	})
	b.zone.log.leave(at, err)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

func (b *border) call(method string, args any) Call {
	c := Call{
		Method: path.Base(method), Product: b.process.made.Name, Version: b.process.made.Version, At: time.Now(),
	}
	if asked, ok := args.(interface{ GetCall() *driverpb.Call }); ok && asked.GetCall() != nil {
		about := asked.GetCall()
		c.Token, c.Repeat, c.Epoch = about.GetToken(), about.GetRepeat(), about.GetEpoch()
		c.Resource = resources.Ref{Kind: resources.Kind(about.GetResource().GetKind()), ID: about.GetResource().GetId()}
	}
	return c
}

// pass makes a call, with what goes wrong.
func (b *border) pass(ctx context.Context, met *Fault, ask func() error) error {
	if met == nil {
		return ask()
	}
	switch met.What {
	case Refuse:
		return met.err()
	case Busy:
		return busy()
	case LoseRequest:
		return lost()
	case Delay:
		if !wait(ctx, met.span()) {
			return ctx.Err()
		}
		return ask()
	case CrashBefore:
		b.crash(met)
		return lost()
	case EngineCrashBefore:
		return b.die(ctx, b.zone.crashed)
	case Cancel:
		return b.die(ctx, b.zone.stopped)
	case RefuseAfter, LoseAnswer, Hang, CrashAfter, EngineCrashAfter:
	}
	if err := ask(); err != nil {
		return err
	}
	return b.after(ctx, met)
}

// after is what goes wrong once the driver did it.
func (b *border) after(ctx context.Context, met *Fault) error {
	switch met.What {
	case LoseAnswer:
		return lost()
	case Hang:
		<-ctx.Done()
		return ctx.Err()
	case CrashAfter:
		b.crash(met)
		return lost()
	case EngineCrashAfter:
		return b.die(ctx, b.zone.crashed)
	default:
		return met.err()
	}
}

// crash kills the driver, and has it started again later.
func (b *border) crash(met *Fault) {
	b.process.kill()
	b.zone.later(met.span(), func() { b.zone.started(b.process) })
}

// die tells the zone, and returns when the call is cut off because of it.
func (b *border) die(ctx context.Context, told chan<- struct{}) error {
	told <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func wait(ctx context.Context, span time.Duration) bool {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
