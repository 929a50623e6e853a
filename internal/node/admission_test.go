package node_test

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// greeted reports whether a node takes a connection of who has an identity.
func (z *zone) greeted(identity *pki.Identity, to string) error {
	z.t.Helper()
	h, err := pki.NewHolder(identity, pki.Rules{Clock: time.Now})
	if err != nil {
		z.t.Fatal(err)
	}
	name := pki.Name{ClusterID: identity.Name().ClusterID, Role: pki.RoleNode, Name: to}
	config := h.ClientConfig(name, []string{wire.ProtocolOf(cluster.PurposePeer)})
	conn, err := tls.Dial("tcp", z.address[to], config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		z.t.Fatal(err)
	}
	_, err = conn.Read(make([]byte, 1)) // who accepts speaks HTTP/2: its settings come first
	return err
}

func (z *zone) identity(dir string) *pki.Identity {
	z.t.Helper()
	identity, err := membership.Identity(filepath.Join(dir, "cluster"))
	if err != nil {
		z.t.Fatal(err)
	}
	return identity
}

// TestTheOneBeforeOfANameIsRefused removes a node, lets another in under its name, and has the first come back: also
// the node that began the cluster.
func TestTheOneBeforeOfANameIsRefused(t *testing.T) {
	z := newZone(t, "n1", "n2", "n3")
	for _, removed := range []string{"n2", "n1"} {
		token := z.servers["n3"].token
		before := z.identity(z.servers[removed].dir)
		if err := z.greeted(before, "n3"); err != nil {
			t.Errorf("%s: %v", removed, err)
		}
		status, body := z.servers["n3"].call(http.MethodDelete, "/v1/nodes/"+removed, nil)
		if status != http.StatusOK {
			t.Fatalf("removing %s: %d %v", removed, status, body)
		}
		z.servers[removed].abandon()
		if err := z.greeted(before, "n3"); err == nil {
			t.Errorf("%s is let in after it was removed", removed)
		}
		dir := dataDir(t)
		member := node.Member{Name: removed, Advertise: z.address[removed]}
		err := node.Join(t.Context(), dir, z.address["n3"], z.token(z.servers["n3"], 3600), member, "test")
		if err != nil {
			t.Fatal(err)
		}
		after := z.identity(dir)
		if after.Name().Admission == "" || after.Name().Admission == before.Name().Admission {
			t.Errorf("%s was admitted as %q and is as %q", removed, before.Name().Admission, after.Name().Admission)
		}
		if err := z.greeted(before, "n3"); err == nil {
			t.Errorf("%s is let in as it was, after another was let in under its name", removed)
		}
		if err := z.greeted(after, "n3"); err != nil {
			t.Errorf("another %s: %v", removed, err)
		}
		z.servers[removed] = z.start(removed, dir, token)
		z.until(removed+" votes", func() bool {
			for _, v := range z.nodes("n3") {
				if v["name"] == removed {
					return v["role"] != "learner"
				}
			}
			return false
		})
		if err := z.greeted(after, "n3"); err != nil {
			t.Errorf("another %s: %v", removed, err)
		}
	}
	closeTogether(z)
}
