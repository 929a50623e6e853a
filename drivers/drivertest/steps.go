package drivertest

import (
	"context"
	"path"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// step is one mutating call of the contract, as the checks see it that hold for all of them.
type step struct {
	method string
	// setUp brings the backend to where the call can be made. It may be called several times in one check.
	setUp func(e *env) deed
}

// deed is a call ready to be made.
type deed struct {
	request proto.Message
	// reached asserts that the call's effect is there, once.
	reached func()
	// pristine asserts that it is not there at all; nil when nobody could tell.
	pristine func()
	// other is what asks for something else of the same resource; nil when the request says nothing else.
	other proto.Message
	// again asserts what another token makes of it, where that is not what reached asserts.
	again func()
	// effects is how many effects the truth may know of for the token; 0 stands for 1.
	effects int
}

// stepChecks holds all mutating calls to what the contract says of all mutating calls.
func stepChecks(h *Harness, can *driverpb.Capabilities) []check {
	var all []check
	for _, s := range steps(h, can) {
		name := path.Base(path.Dir(s.method))
		prefix := name[len("bulkhead.driver.v1."):] + "." + path.Base(s.method) + ": "
		for _, c := range []struct {
			sentence string
			run      func(e *env, s step)
		}{
			{"asked twice with one token it acts once and answers twice", askedTwice},
			{"two callers with one token at the same time get one effect", askedTogether},
			{"what is so already succeeds for another token", askedAgain},
			{"a token that came with another request is refused", tokenReused},
			{"Recall tells the outcome by the token", recalled},
			{"a stale epoch is refused and has no effect", fenced},
			{"a repeat of what never happened does it", repeatedFirst},
			{"a repeat after the driver was killed succeeds and acts once", repeatedLater},
			{"killed in the middle and repeated it has one effect", killedInside},
			{"cancelled it stops and can be repeated", cancelledInside},
			{"past its deadline it stops and can be repeated", expiredInside},
			{"its answer is lost, and a repeat has one effect", answerLost},
		} {
			all = append(all, check{name: prefix + c.sentence, run: func(e *env) { c.run(e, s) }})
		}
	}
	return all
}

func steps(h *Harness, can *driverpb.Capabilities) []step {
	var all []step
	if h.Storage != nil {
		all = append(all, storageSteps(can)...)
	}
	if h.Images != nil {
		all = append(all, imageSteps()...)
	}
	if h.Hypervisor != nil {
		all = append(all, hypervisorSteps(h, can)...)
	}
	if h.Networks != nil {
		all = append(all, networkSteps(can)...)
	}
	if h.OutOfBand != nil {
		all = append(all, outOfBandSteps(can)...)
	}
	return all
}

// limit is how many effects a token may have had.
func (d deed) limit() int { return max(d.effects, 1) }

func (d deed) token() string { return callOf(d.request).GetToken() }

// succeed makes the call, which has to succeed.
func (s step) succeed(e *env, request proto.Message, when string) {
	e.Helper()
	if _, err := e.try(s.method, request); err != nil {
		e.Fatalf("%s %s: %v", path.Base(s.method), when, err)
	}
}

func askedTwice(e *env, s step) {
	d := s.setUp(e)
	s.succeed(e, d.request, "the first time")
	s.succeed(e, d.request, "the second time")
	d.reached()
	e.effects(d.token(), d.limit())
}

func askedTogether(e *env, s step) {
	d := s.setUp(e)
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		request := proto.Clone(d.request)
		both.Go(func() {
			ctx, cancel := e.patience()
			defer cancel()
			_, errs[i] = e.invoke(ctx, e.conn(), s.method, request)
		})
	}
	both.Wait()
	for _, err := range errs {
		if err != nil {
			e.Errorf("one of two callers: %v", err)
		}
	}
	e.refresh(s, d)
	d.reached()
	e.effects(d.token(), d.limit())
}

// refresh asks once more with the token, so that the newest handle is known after calls made past try.
func (e *env) refresh(s step, d deed) {
	e.Helper()
	s.succeed(e, repeated(d.request), "asked for its outcome")
}

func askedAgain(e *env, s step) {
	d := s.setUp(e)
	s.succeed(e, d.request, "the first time")
	s.succeed(e, anew(e, d.request), "with another token")
	if d.again != nil {
		d.again()
		return
	}
	d.reached()
}

func tokenReused(e *env, s step) {
	d := s.setUp(e)
	if d.other == nil {
		return // the request says nothing beyond its resource, which a token may have several of
	}
	s.succeed(e, d.request, "the first time")
	call := callOf(d.other)
	call.Token = d.token()
	fault := e.refused(driverpb.Class_CLASS_INVALID, s.method, d.other)
	if fault.GetField() == "" {
		e.Errorf("fault %s names no field", fault.GetCode())
	}
	d.reached()
}

func recalled(e *env, s step) {
	d := s.setUp(e)
	if state := e.recall(d.token()).GetState(); state != driverpb.RecallReply_STATE_UNKNOWN {
		e.Errorf("recalled before it was asked: %s, want STATE_UNKNOWN", state)
	}
	reply, err := e.try(s.method, d.request)
	if err != nil {
		e.Fatalf("%s: %v", path.Base(s.method), err)
	}
	recalled := e.recall(d.token())
	if recalled.GetState() != driverpb.RecallReply_STATE_DONE || recalled.GetFault() != nil {
		e.Fatalf("recalled after it succeeded: %v, want STATE_DONE without a fault", recalled)
	}
	again, err := newReply(s.method)
	if err != nil {
		e.Fatal(err)
	}
	if err := proto.Unmarshal(recalled.GetReply(), again); err != nil {
		e.Fatalf("the recalled reply is none of %s: %v", path.Base(s.method), err)
	}
	if !proto.Equal(reply, again) {
		e.Errorf("recalled %v, want what was answered: %v", again, reply)
	}
}

func (e *env) recall(token string) *driverpb.RecallReply {
	e.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	reply, err := driverpb.NewBaseClient(e.conn()).Recall(ctx, &driverpb.RecallRequest{Token: token})
	if err != nil {
		e.Fatalf("recall: %v", err)
	}
	return reply
}

func fenced(e *env, s step) {
	d := s.setUp(e)
	const newer = 9
	seen := &driverpb.ProbeRequest{Call: callOf(proto.Clone(d.request))}
	seen.Call.Token, seen.Call.Epoch = e.token(), newer
	if _, err := e.try(driverpb.Base_Probe_FullMethodName, seen); err != nil {
		e.Fatalf("probe with epoch %d: %v", newer, err)
	}
	defer e.raise(newer) // whatever comes: what cleans up must not be stale
	stale := proto.Clone(d.request)
	callOf(stale).Epoch = newer - 1
	e.refused(driverpb.Class_CLASS_FENCED, s.method, stale)
	e.raise(newer) // even looking with the old epoch is refused now
	if d.pristine != nil {
		d.pristine()
	}
	current := anew(e, d.request)
	callOf(current).Epoch = newer
	s.succeed(e, current, "with the newest epoch")
}

// raise makes all further calls of the check carry a higher epoch.
func (e *env) raise(epoch uint64) { e.epoch = epoch }

func repeatedFirst(e *env, s step) {
	d := s.setUp(e)
	s.succeed(e, repeated(d.request), "as a repeat of nothing")
	d.reached()
	e.effects(d.token(), d.limit())
}

func repeatedLater(e *env, s step) {
	d := s.setUp(e)
	s.succeed(e, d.request, "before the kill")
	e.kill()
	e.restart()
	if state := e.recall(d.token()).GetState(); state == driverpb.RecallReply_STATE_RUNNING {
		e.Errorf("after a restart a call is recalled as %s", state)
	}
	s.succeed(e, repeated(d.request), "repeated after the kill")
	d.reached()
	e.effects(d.token(), d.limit())
}

// measure makes the call of a deed of its own and tells how long that took.
func (s step) measure(e *env) time.Duration {
	e.Helper()
	d := s.setUp(e)
	start := time.Now()
	s.succeed(e, d.request, "undisturbed")
	return time.Since(start)
}

// interrupted makes the call and disturbs it after a while, then waits until it has returned.
func (s step) interrupted(e *env, d deed, after time.Duration, disturb func(cancel context.CancelFunc)) error {
	e.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	conn, done := e.conn(), make(chan error, 1)
	go func() {
		_, err := e.invoke(ctx, conn, s.method, proto.Clone(d.request))
		done <- err
	}()
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case err := <-done:
		disturb(cancel)
		return err
	case <-timer.C:
	}
	disturb(cancel)
	return <-done
}

func killedInside(e *env, s step) {
	took := s.measure(e)
	points := e.harness.Limits.KillPoints
	for point := range points {
		d := s.setUp(e)
		after := took * time.Duration(2*point+1) / time.Duration(2*points)
		_ = s.interrupted(e, d, after, func(context.CancelFunc) { e.kill() }) // lost or not, the outcome is unknown
		e.restart()
		s.succeed(e, repeated(d.request), "repeated after a kill "+after.String()+" into it")
		d.reached()
		e.effects(d.token(), d.limit())
	}
}

// quarters are the instants at which a call is cancelled or expires: before and, likely, after its effect.
func quarters(took time.Duration) []time.Duration { return []time.Duration{took / 4, took * 3 / 4} }

func cancelledInside(e *env, s step) {
	for _, after := range quarters(s.measure(e)) {
		d := s.setUp(e)
		_ = s.interrupted(e, d, after, func(cancel context.CancelFunc) { cancel() })
		e.settles(d)
		s.succeed(e, repeated(d.request), "repeated after a cancel "+after.String()+" into it")
		d.reached()
		e.effects(d.token(), d.limit())
	}
}

// settles waits until the driver has stopped working on a call.
func (e *env) settles(d deed) {
	e.Helper()
	e.eventually(e.harness.Limits.Cancel, "the driver has stopped working on the call", func() bool {
		return e.recall(d.token()).GetState() != driverpb.RecallReply_STATE_RUNNING
	})
}

func expiredInside(e *env, s step) {
	for _, after := range quarters(s.measure(e)) {
		d := s.setUp(e)
		ctx, cancel := context.WithTimeout(context.Background(), after)
		_, _ = e.invoke(ctx, e.conn(), s.method, proto.Clone(d.request)) // it may have been fast enough
		cancel()
		e.settles(d)
		s.succeed(e, repeated(d.request), "repeated after its deadline "+after.String()+" into it")
		d.reached()
		e.effects(d.token(), d.limit())
	}
}

// answerLost breaks the connection in the middle of a call, as the death of a server does, and finds out from the
// driver, which ran on, what became of it.
func answerLost(e *env, s step) {
	for _, after := range quarters(s.measure(e)) {
		d := s.setUp(e)
		_ = s.interrupted(e, d, after, func(context.CancelFunc) { e.instance.Cut(e.T) })
		e.settles(d)
		s.succeed(e, repeated(d.request), "repeated after its answer was lost, "+after.String()+" into it")
		d.reached()
		e.effects(d.token(), d.limit())
	}
}
