package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// stuck adds an operation on a resource that needs an operator.
func (s *site) stuck(target resources.Ref, name string) string {
	return s.zone.Add(&resources.Operation{
		Meta:   resources.Meta{Kind: resources.KindOperation, Phase: resources.PhaseNeedsOperator},
		Action: "create", Target: target, TargetName: name,
		Error: &resources.Error{Class: resources.ClassUnsupported, Code: "no", Message: "the driver can't"},
	})
}

func TestWhatAnOperationWaitsBehindIsSaid(t *testing.T) {
	s := newSite(t, true)
	pool := s.zone.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "p3"}})
	ahead := s.stuck(resources.Ref{Kind: resources.KindPool, ID: pool}, "p3")
	b := s.background("", "pool", "delete", "p3")
	b.until(b.errors, "delete p3: waits behind "+ahead+" (create pool p3), which needs an operator: "+
		"bulkhead operation show "+ahead)
	s.zone.Finish(s.running())
	if code := <-b.code; code != 0 {
		t.Errorf("exit %d: %s", code, b.errors)
	}
}

func TestWorkThatIsHeldBackIsSaid(t *testing.T) {
	s := newSite(t, true)
	s.zone.Add(&resources.Volume{Meta: resources.Meta{Kind: resources.KindVolume, Name: "d1", Suspended: true}})
	b := s.background("", "volume", "delete", "d1")
	b.until(b.errors, "delete d1: waits: work on volume d1 is held back; to let it go on: bulkhead volume resume-work d1")
	s.zone.Finish(s.running())
	if code := <-b.code; code != 0 {
		t.Errorf("exit %d: %s", code, b.errors)
	}
}

func TestAnOperationBelowIsSaid(t *testing.T) {
	s := newSite(t, true)
	s.furnish()
	b := s.background("", "machine", "create", "m1", "--cpus", "1", "--memory", "1GiB", "--template", "tiny")
	parent := s.running()
	s.zone.Progress(parent, 10, "create")
	child := s.zone.Add(&resources.Operation{
		Meta:   resources.Meta{Kind: resources.KindOperation, Phase: resources.PhaseRunning},
		Action: "create", Target: resources.Ref{Kind: resources.KindVolume, ID: "vol-1"},
		ParentID: resources.OperationID(parent), Message: "create: driver acme/disks is backing-off",
	})
	b.until(b.errors, "create m1: waits for "+child+" (create volume vol-1): create: driver acme/disks is backing-off")
	s.zone.Finish(parent)
	if code := <-b.code; code != 0 {
		t.Errorf("exit %d: %s", code, b.errors)
	}
}

func TestATimeoutLeavesTheOperation(t *testing.T) {
	s := newSite(t, true)
	r := s.run("volume", "create", "data", "--size", "1GiB", "--timeout", "10ms")
	id := s.running()
	if r.code != 7 || !strings.Contains(r.err, "volume data: create did not end in 10ms; it goes on") ||
		!strings.Contains(r.err, "To do: bulkhead operation watch "+id) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	s.zone.Finish(id)
	if r := s.run("operation", "watch", id, "--timeout", "20"); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	for _, bad := range []string{"soon", "-1s"} {
		if r := s.run("operation", "watch", id, "--timeout="+bad); r.code != 2 || !strings.Contains(r.err, "how long") {
			t.Errorf("%s: exit %d: %s", bad, r.code, r.err)
		}
	}
}

// untilDecided waits until an operator's decision on an operation has arrived.
func (s *site) untilDecided(id string) {
	s.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		r, _, err := s.zone.Get(s.t.Context(), resources.Ref{Kind: resources.KindOperation, ID: id})
		if err != nil {
			s.t.Fatal(err)
		}
		if r.(*resources.Operation).Resolution != "" {
			return
		}
	}
	s.t.Fatal("no decision arrived in 20 s")
}

func TestDecisionsOfAnOperatorAreFollowed(t *testing.T) {
	for verb, want := range map[string]string{"abandon": ": given up", "unwind": ": undone"} {
		s := newSite(t, true)
		pool := s.zone.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "p3"}})
		id := s.stuck(resources.Ref{Kind: resources.KindPool, ID: pool}, "p3")
		b := s.background("", "operation", verb, id, "-o", "table")
		s.untilDecided(id)
		s.zone.Fail(id, &resources.Error{Class: resources.ClassUnsupported, Code: "no", Message: "the driver can't"})
		if code := <-b.code; code != 0 || b.out.String() != "operation "+id+want+"\n" {
			t.Errorf("%s: exit %d: %s%s", verb, code, b.out, b.errors)
		}
	}
	s := newSite(t, true)
	pool := s.zone.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "p3"}})
	id := s.stuck(resources.Ref{Kind: resources.KindPool, ID: pool}, "p3")
	if r := s.run("operation", "watch", id); r.code != 8 {
		t.Errorf("one that nobody has decided on: exit %d", r.code)
	}
}
