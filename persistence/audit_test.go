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
