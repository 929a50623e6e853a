package node_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

func (z *zone) rotation(asked string) (phase, lagging string) {
	z.t.Helper()
	status, body := z.servers[asked].call(http.MethodGet, "/v1/rotation", nil)
	if status != http.StatusOK {
		z.t.Fatalf("reading the rotation: %d %v", status, body)
	}
	return fmt.Sprint(body["phase"]), fmt.Sprint(body["lagging"])
}

func (z *zone) rotate(asked, secret string, want int) map[string]any {
	z.t.Helper()
	status, body := z.servers[asked].call(http.MethodPost, "/v1/rotation", map[string]any{"secret": secret})
	if status != want {
		z.t.Errorf("replacing the %s: %d %v", secret, status, body)
	}
	return body
}

// secrets of a node: who signed its certificate, whom it trusts, what it signs with, and its keys of the gossip.
func (z *zone) secrets(dir string) (issuer string, trusted []string, authority string, keys int) {
	z.t.Helper()
	identity := z.identity(dir)
	a, err := membership.Authority(filepath.Join(dir, "cluster"))
	if err != nil {
		z.t.Fatal(err)
	}
	gossip, err := membership.GossipKeys(filepath.Join(dir, "cluster"))
	if err != nil {
		z.t.Fatal(err)
	}
	return identity.Trust().IssuerPin(identity.Certificate()), identity.Trust().Pins(), a.Pin(), len(gossip)
}

func (z *zone) allWell(asked string) bool {
	for _, v := range z.nodes(asked) {
		if v["well"] != true || v["role"] == "learner" {
			return false
		}
	}
	return true
}

// TestSecretsAreReplaced replaces both secrets of three nodes at work, loses the leader in the middle of it, has a node
// hold it up, lets another join meanwhile, and has the ones that were away come back.
func TestSecretsAreReplaced(t *testing.T) {
	z := newZone(t, "n1", "n2", "n3")
	if phase, lagging := z.rotation("n2"); phase != "none" || lagging != "[]" {
		t.Errorf("a rotation before there was one: %s, %s", phase, lagging)
	}
	token := z.servers["n1"].token
	before := z.identity(z.servers["n3"].dir)
	made := z.token(z.servers["n1"], 3600)
	old, _, _, _ := z.secrets(z.servers["n1"].dir)
	away := z.servers["n3"]
	z.servers["n3"].close(false)
	delete(z.servers, "n3")

	z.rotate("n2", "authority", http.StatusCreated)
	z.rotate("n1", "gossip-key", http.StatusConflict)
	z.until("it waits for n3", func() bool {
		phase, lagging := z.rotation("n1")
		return phase == "adding" && lagging == "[node n3]"
	})
	z.servers["n3"] = z.start("n3", away.dir, token)
	leader := z.leader("n3")
	dir := z.servers[leader].dir
	z.servers[leader].close(false) // wherever the rotation is by now
	delete(z.servers, leader)
	asked := map[bool]string{true: "n2", false: "n1"}[leader == "n1"]
	z.until("it waits for "+leader, func() bool {
		_, lagging := z.rotation(asked)
		return lagging == "[node "+leader+"]"
	})
	z.servers[leader] = z.start(leader, dir, token)
	z.until("it is done", func() bool {
		phase, _ := z.rotation(asked)
		return phase == "done"
	})
	for name, s := range z.servers {
		issuer, trusted, authority, _ := z.secrets(s.dir)
		if issuer == old || issuer != authority || len(trusted) != 1 || trusted[0] != issuer {
			t.Errorf("%s has a certificate of %s, trusts %v and signs with %s", name, issuer, trusted, authority)
		}
	}
	z.until("all are well", func() bool { return z.allWell(asked) })
	if err := z.greeted(before, "n2"); err == nil {
		t.Error("a certificate of the old authority is good still")
	}
	refusedByPin(t, z, made)

	z.rotate("n3", "gossip-key", http.StatusCreated)
	z.joins("n4", "n2", token)
	z.until("that is done too", func() bool {
		phase, _ := z.rotation("n3")
		return phase == "done"
	})
	z.until("all four are well", func() bool { return len(z.nodes("n3")) == 4 && z.allWell("n3") })
	var keys string
	for name, s := range z.servers {
		text, err := os.ReadFile(filepath.Join(s.dir, "cluster", "gossip.keys"))
		if err != nil || strings.Count(string(text), "\n") != 1 || keys != "" && keys != string(text) {
			t.Errorf("%s gossips with other keys: %v", name, err)
		}
		keys = string(text)
	}
	closeTogether(z)
}

// joins has a node join by asking another one.
func (z *zone) joins(name, asked, token string) {
	z.t.Helper()
	z.address[name] = freeAddress(z.t)
	dir := dataDir(z.t)
	member := node.Member{Name: name, Advertise: z.address[name]}
	err := node.Join(z.t.Context(), dir, z.address[asked], z.token(z.servers[asked], 3600), member, "test")
	if err != nil {
		z.t.Fatal(err)
	}
	z.servers[name] = z.start(name, dir, token)
}

// refusedByPin checks that a token is refused that was made before the authority was replaced.
func refusedByPin(t *testing.T, z *zone, token pki.JoinToken) {
	t.Helper()
	_, err := join.Ask(t.Context(), z.address["n1"], join.Request{Token: token, Name: "n9", Address: "127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "the authority was changed since the token was made") {
		t.Errorf("a token of before: %v", err)
	}
}

// TestAgentsGoAlongWithARotation replaces both secrets of a cluster with an agent, which nobody tells but the nodes.
func TestAgentsGoAlongWithARotation(t *testing.T) {
	z := newZone(t, "n1", "n2")
	h := z.join("h1", "n1")
	old, _, _, _ := z.secrets(z.servers["n1"].dir)
	for _, secret := range []string{"authority", "gossip-key"} {
		z.rotate("n2", secret, http.StatusCreated)
		z.until(secret+": it is done", func() bool {
			phase, _ := z.rotation("n1")
			return phase == "done"
		})
	}
	own := z.identity(h.dir)
	pins, issuer := own.Trust().Pins(), own.Trust().IssuerPin(own.Certificate())
	if len(pins) != 1 || pins[0] == old || issuer != pins[0] {
		t.Errorf("the agent trusts %v and has a certificate of %s; the old authority was %s", pins, issuer, old)
	}
	z.until("the agent is well", func() bool { return z.allWell("n1") })
}
