package drivertest

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// everywhereChecks are those that hold in every category that has resources of its own.
func everywhereChecks(h *Harness, a *about) []check {
	var all []check
	told := len(h.allSecrets(shortestSecret)) > 0
	for _, k := range kinds(h) {
		for _, c := range []struct {
			sentence, why string
			run           func(e *env, k kind)
		}{
			{"a call to make something that arrives late, when that is gone again, makes nothing", "", arrivesLate},
			{"the epoch of one resource says nothing of another's", "", epochsApart},
			{"Adopt and Release with a stale epoch are refused with FENCED", "", adoptFenced},
			{"a handle of a version that the driver can't read is refused by Adopt", "", foreignHandle},
			{"each handle has the version that is declared, and at most 64 KiB", "", handlesDeclared},
			{"Adopt of what is gone is refused with NOT_FOUND", gone(k), adoptOfGone},
			{"different resources are made at the same time, as many as are declared", "", makeTogether},
			{
				"each value that the description allows is taken, or refused with its field",
				describes(a, scopeOf(k), resourceOf(k)), valuesTaken,
			},
			{"no secret is in a log, a handle, a fault or a fact", given(told, "secret"), secretsKept},
			{"of what was made and deleted nothing is left on the host", "", nothingLeft},
		} {
			all = append(all, check{
				name: k.category + ": " + c.sentence, why: c.why, run: func(e *env) { c.run(e, k) },
			})
		}
	}
	return append(all, driverWide(a)...)
}

// gone is why nobody can ask to adopt what is gone.
func gone(k kind) string {
	return map[string]string{
		"Storage":    "it is checked with the volumes",
		"Hypervisor": "a machine that is gone is a machine that ended",
		"Networks":   "what was in the memory of a host that restarted is made again by its handle",
	}[k.category]
}

func driverWide(a *about) []check {
	return []check{{
		name: "Base: each value that the description allows is taken, or refused with its field",
		why:  describes(a, "driver"),
		run: func(e *env) {
			for _, p := range e.harness.about.properties {
				if p.GetScope() != "driver" {
					continue
				}
				for _, value := range allowed(p) {
					e.configured(p, value)
				}
			}
		},
	}}
}

// describes is why no value can be tried in any of some scopes.
func describes(a *about, scopes ...string) string {
	for _, p := range a.properties {
		if slices.Contains(scopes, p.GetScope()) && len(allowed(p)) > 0 {
			return ""
		}
	}
	return "the driver describes no property of scope " + scopes[0] + " with values to choose from"
}

// resourceOf is the scope of properties of what is in a scope; empty where there are none.
func resourceOf(k kind) string {
	return map[string]string{"Storage": "volume", "Hypervisor": "machine"}[k.category]
}

func scopeOf(k kind) string {
	return map[string]string{
		"Storage": "pool", "Images": "image-store", "Hypervisor": "host", "Networks": "network",
	}[k.category]
}

func arrivesLate(e *env, k kind) {
	s := k.setUp(e)
	late := s.create(e)
	must[proto.Message](e, s.makes, proto.Clone(late))
	s.gone(e)
	s.there(e, 0)
	_, _ = e.try(s.makes, late) // answered from memory or refused, as the driver likes
	s.there(e, 0)
}

// probed shows the driver an epoch of a resource.
func (e *env) probed(s specimen, epoch uint64) {
	e.Helper()
	call := e.call(s.ref, s.in)
	call.Epoch = epoch
	must[*driverpb.ProbeReply](e, driverpb.Base_Probe_FullMethodName, &driverpb.ProbeRequest{Call: call})
}

func epochsApart(e *env, k kind) {
	one, other := k.setUp(e), k.setUp(e)
	one.made(e)
	defer e.raise(9) // whatever comes: what cleans up must not be stale
	e.probed(one, 9)
	other.made(e)
	other.there(e, 1)
	other.gone(e)
}

func adoptFenced(e *env, k kind) {
	s := k.setUp(e)
	s.made(e)
	defer e.raise(9) // whatever comes: what cleans up must not be stale
	e.probed(s, 9)
	stale := func() *driverpb.Call {
		call := e.call(s.ref, s.in)
		call.Epoch = 8
		return call
	}
	e.refused(driverpb.Class_CLASS_FENCED, driverpb.Base_Adopt_FullMethodName, &driverpb.AdoptRequest{Call: stale()})
	e.refused(driverpb.Class_CLASS_FENCED, driverpb.Base_Release_FullMethodName,
		&driverpb.ReleaseRequest{Call: stale()})
}

func foreignHandle(e *env, k kind) {
	s := k.setUp(e)
	s.made(e)
	hello := e.hello()
	call := e.call(s.ref, s.in)
	call.Handle = &driverpb.Handle{
		Version: 1000 + slices.Max(append(hello.GetHandleReads(), hello.GetHandleWrites())), Data: []byte(`{"from":"afar"}`),
	}
	_, err := e.try(driverpb.Base_Adopt_FullMethodName, &driverpb.AdoptRequest{Call: call})
	switch class := faultOf(err).GetClass(); {
	case err == nil:
		e.Errorf("a handle of version %d was adopted; declared are %v and %d", call.GetHandle().GetVersion(),
			hello.GetHandleReads(), hello.GetHandleWrites())
	case class == driverpb.Class_CLASS_INTERNAL:
		e.Errorf("got %v: not to know a version is no defect of the driver's", err)
	}
	s.there(e, 1)
}

func handlesDeclared(e *env, k kind) {
	s := k.setUp(e)
	s.made(e)
	must[*driverpb.OutcomeReply](e, driverpb.Base_Adopt_FullMethodName,
		&driverpb.AdoptRequest{Call: e.call(s.ref, s.in)})
	const most = 64 << 10
	declared := e.hello().GetHandleWrites()
	for _, handle := range e.journal.handles() {
		if len(handle.GetData()) > 0 && handle.GetVersion() != declared {
			e.Errorf("a handle has version %d, declared is %d", handle.GetVersion(), declared)
		}
		if len(handle.GetData()) > most {
			e.Errorf("a handle has %d bytes, want at most %d", len(handle.GetData()), most)
		}
	}
}

// handles lists all that the driver returned.
func (j *journal) handles() (all []*driverpb.Handle) {
	for _, reply := range j.replies() {
		if holder, ok := reply.(interface{ GetHandle() *driverpb.Handle }); ok && holder.GetHandle() != nil {
			all = append(all, holder.GetHandle())
		}
	}
	return all
}

func adoptOfGone(e *env, k kind) {
	s := k.setUp(e)
	s.made(e)
	handle := e.handle(s.ref)
	s.gone(e)
	call := e.call(s.ref, s.in)
	call.Handle = handle
	e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Base_Adopt_FullMethodName, &driverpb.AdoptRequest{Call: call})
}

// atOnce is how many calls the driver is asked to take at a time.
func (e *env) atOnce() int {
	e.Helper()
	declared, most := int(e.hello().GetConcurrency()), e.harness.Limits.Parallel
	if declared == 0 {
		return most
	}
	return min(declared, most)
}

func makeTogether(e *env, k kind) {
	all := make([]specimen, e.atOnce())
	requests, errs := make([]proto.Message, len(all)), make([]error, len(all))
	for i := range all {
		all[i] = k.setUp(e)
		requests[i] = all[i].create(e)
	}
	var done sync.WaitGroup
	for i, s := range all {
		done.Go(func() { _, errs[i] = ask[proto.Message](e, s.makes, requests[i]) })
	}
	done.Wait()
	for i, err := range errs {
		if err != nil {
			e.Errorf("%d of %d at once: %v", i+1, len(all), err)
			continue
		}
		all[i].there(e, 1)
	}
}

func nothingLeft(e *env, k kind) {
	watched, ok := e.instance.(Watched)
	if !ok {
		return // nobody can look
	}
	cycle := func() {
		s := k.setUp(e)
		s.made(e)
		s.gone(e)
		if closing := closeMethod(s.in.ref.GetKind()); closing != "" {
			if _, err := e.try(closing, e.closeRequest(s.in)); err != nil {
				e.Errorf("closing it: %v", err)
			}
			e.forget(s.in)
			e.emptied(s.in)
		}
	}
	cycle() // what a driver makes once for itself may stay
	before := map[string]int{}
	for _, there := range watched.Remains(e.T) {
		before[there]++
	}
	cycle()
	for _, after := range watched.Remains(e.T) {
		if before[after]--; before[after] < 0 {
			e.Errorf("left on the host: %s", after)
		}
	}
}

// emptied asserts that nothing is left in the directories that a scope was opened with, which were empty.
func (e *env) emptied(in scope) {
	e.Helper()
	for _, p := range e.harness.about.properties {
		dir, ok := in.properties[p.GetKey()].(string)
		if !ok || p.GetPathAccess() != driverpb.Property_ACCESS_READ_WRITE {
			continue
		}
		for _, file := range filesBelow(e.T, dir) {
			if file != "lost+found" {
				e.Errorf("left in %s, which was closed: %s", p.GetKey(), file)
			}
		}
	}
}
