package persistence_test

import (
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestEachLineOfTheAuditLogStays changes members several times in one entry, which makes no events.
func TestEachLineOfTheAuditLogStays(t *testing.T) {
	z := newZone(t)
	z.must(&persistence.Finalize{
		Level: persistence.NewestLevel, Nodes: []persistence.Program{program("n1", persistence.NewestLevel)},
	})
	before := len(auditLog(z, resources.OrderOldest, 100))
	invite := func(id string) *persistence.Invite {
		return &persistence.Invite{
			Origin: resources.Origin{Principal: "admin"},
			Invitation: persistence.Invitation{
				ID: id, Role: persistence.RoleNode, Digest: "digest", ExpiresAt: z.now.Add(time.Hour),
			},
		}
	}
	cmds := []persistence.Command{
		invite("a"), invite("b"), invite("c"), z.create(pool("pool-1", 1<<30), true), invite("d"),
	}
	for i, r := range z.apply(cmds...) {
		if r.Err != nil {
			t.Fatalf("command %d: %v", i, r.Err)
		}
	}
	if got := len(auditLog(z, resources.OrderOldest, 100)) - before; got != len(cmds) {
		t.Errorf("%d lines for %d commands", got, len(cmds))
	}
	z.check()
}

// TestWhatWasNotAllowedIsWrittenDown: a refusal changes nothing else, and older zones have no word for it.
func TestWhatWasNotAllowedIsWrittenDown(t *testing.T) {
	z := newZone(t)
	refuse := &persistence.Refuse{
		Action: "create", Target: resources.Ref{Kind: resources.KindVolume}, Why: "policy no-arrays does not allow it",
		Origin: resources.Origin{Principal: "ann/tok-1", Source: "192.0.2.1", RequestID: "r-1", Digest: []byte{7}},
	}
	if r := z.apply(refuse)[0]; resources.AsError(r.Err) == nil || resources.AsError(r.Err).Code != "feature-waits" {
		t.Errorf("in an old zone: %v", r.Err)
	}
	z.must(&persistence.Finalize{
		Level: persistence.NewestLevel, Nodes: []persistence.Program{program("n1", persistence.NewestLevel)},
	})
	before := auditLog(z, resources.OrderOldest, 100)
	z.must(refuse)
	var lines []resources.Audit
	z.view(func(v *persistence.View) (err error) {
		lines, err = v.AuditLog(before[len(before)-1], resources.OrderOldest, 100)
		return err
	})
	if len(lines) != 1 {
		t.Fatalf("%d lines more", len(lines))
	}
	last := lines[0]
	if last.Decision != persistence.DecisionDenied || last.Principal != "ann/tok-1" || last.Action != "create" ||
		last.Target.Kind != resources.KindVolume || last.Statement != refuse.Why || last.Source != "192.0.2.1" {
		t.Errorf("the line is %+v", last)
	}
	z.check()
}
