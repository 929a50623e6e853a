package node_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/internal/node/sealing"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// secretRing is the keys that a node has for secrets.
func secretRing(t *testing.T, dir string) []string {
	t.Helper()
	path := filepath.Join(dir, "cluster", "secrets.keys")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", path, info.Mode(), err)
	}
	ring, err := secrets.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return ring.IDs()
}

// securePool makes a pool with a secret, on a node.
func (s *server) securePool(name, on, secret string) (id string) {
	s.t.Helper()
	return s.create("pools", map[string]any{"name": name, "spec": map[string]any{
		"driver": simulator, "node": on, "properties": map[string]any{"accessKey": secret},
	}})
}

// shownKey is what is shown of the secret of a pool, and the reason that stands at it.
func (s *server) shownKey(pool string) (shown, reason string) {
	s.t.Helper()
	status, body := s.call(http.MethodGet, "/v1/pools/"+pool, nil)
	if status != http.StatusOK {
		s.t.Fatalf("reading a pool: %d %v", status, body)
	}
	properties, _ := body["spec"].(map[string]any)["properties"].(map[string]any)
	return fmt.Sprint(properties["accessKey"]), fmt.Sprint(body["reason"])
}

// poolSecrets are the secrets of all pools as calls carry them.
func (s *server) poolSecrets() (opened []string, err error) {
	s.t.Helper()
	_, page := s.call(http.MethodGet, "/v1/pools", nil)
	for _, one := range page["items"].([]any) {
		secret, failed := s.node.Secret(one.(map[string]any)["id"].(string))
		opened, err = append(opened, secret), errors.Join(err, failed)
	}
	return opened, err
}

// inState reports whether a text is in what a node keeps.
func (s *server) inState(text string) bool {
	s.t.Helper()
	var state bytes.Buffer
	if err := s.node.Backup(s.t.Context(), &state, nil); err != nil {
		s.t.Fatal(err)
	}
	return bytes.Contains(state.Bytes(), []byte(text))
}

// TestTheKeyOfSecretsIsReplaced on three nodes: the leader is lost in the middle of it.
func TestTheKeyOfSecretsIsReplaced(t *testing.T) {
	t.Parallel()
	z := newZone(t, "n1", "n2", "n3")
	s := z.servers["n1"]
	token := s.token
	pool := s.securePool("secure", "n2", planted()[0])
	wide := map[string]any{"spec": map[string]any{"properties": map[string]any{"accessKey": planted()[1]}}}
	if status, op := s.change(simulator, wide); op["phase"] != "succeeded" {
		t.Fatalf("a secret of the driver: %d %v", status, op)
	}
	z.volume("n3", pool, "before")
	old := secretRing(t, s.dir)
	for name, one := range z.servers {
		if ring := secretRing(t, one.dir); len(ring) != 1 || ring[0] != old[0] {
			t.Errorf("%s has the keys %v, n1 has %v", name, ring, old)
		}
	}
	z.rotate("n2", "secret-keys", http.StatusCreated)
	leader := z.leader("n3")
	dir := z.servers[leader].dir
	z.servers[leader].close(false) // wherever it is by now
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
	next := secretRing(t, dir)
	for name, one := range z.servers {
		if ring := secretRing(t, one.dir); len(ring) != 1 || ring[0] != next[0] || ring[0] == old[0] {
			t.Errorf("%s has the keys %v, others %v, and before %v", name, ring, next, old)
		}
	}
	z.until("all are well", func() bool { return z.allWell(asked) })
	z.volume("n3", pool, "after")
	z.servers[leader].securePool("later", leader, planted()[2])
	var backup bytes.Buffer
	if err := z.servers["n3"].node.Backup(t.Context(), &backup, nil); err != nil {
		t.Fatal(err)
	}
	closeTogether(z)
	restoredAlone(z, pool, token, backup.Bytes())
}

// restoredAlone makes one node of the backup of several: those that its state knows besides are not waited for. Made
// one that can be joined, it keeps its keys.
func restoredAlone(z *zone, pool, token string, backup []byte) {
	t := z.t
	t.Helper()
	dir := dataDir(t)
	lost, err := node.Restore(t.Context(), dir, "n1", func() (io.Reader, error) { return bytes.NewReader(backup), nil })
	if err != nil || len(lost) != 3 {
		t.Fatalf("restoring: %v, %v", lost, err)
	}
	z.servers = map[string]*server{"n1": z.start("n1", dir, token, func(c *node.Config) { c.Name = "n1" })}
	s := z.servers["n1"]
	z.until("it gave up what can't be opened", func() bool {
		phase, _ := z.rotation("n1")
		shown, _ := s.shownKey(pool)
		return phase == "done" && shown == "map[set:false]"
	})
	body := map[string]any{"spec": map[string]any{"properties": map[string]any{"accessKey": planted()[3]}}}
	if status, op := s.patch("/v1/pools/"+pool, body); op["phase"] != "succeeded" {
		t.Fatalf("giving it again: %d %v", status, op)
	}
	z.rotate("n1", "secret-keys", http.StatusCreated) // of one that is alone
	z.until("its own is replaced", func() bool {
		phase, _ := z.rotation("n1")
		return phase == "done"
	})
	keys := secretRing(t, dir)
	s.close(true)
	if _, err := node.Init(dir, node.Member{Name: "n1", Advertise: freeAddress(t)}); err != nil {
		t.Fatal(err)
	}
	z.servers["n1"] = z.start("n1", dir, token)
	if got, err := z.servers["n1"].node.Secret(pool); err != nil || got != planted()[3] ||
		!slices.Equal(secretRing(t, dir), keys) {
		t.Errorf("it opens as %q, %v", got, err)
	}
}

// TestAZoneFromBeforeIsSealed: as soon as it is raised, what lies in it in clear is sealed.
func TestAZoneFromBeforeIsSealed(t *testing.T) {
	t.Parallel()
	z := newZoneWith(t, []string{"n1", "n2"}, knowing(1))
	pool := z.servers["n1"].securePool("old", "n2", planted()[0])
	if !z.servers["n1"].inState(planted()[0]) {
		t.Fatal("it is not in the state: nothing is shown by that it is not there later")
	}
	for _, name := range []string{"n1", "n2"} {
		z.roll(name, 2)
	}
	z.volume("n1", pool, "meanwhile")
	z.until("all say that they are upgraded", func() bool { return z.upgrade("n1")["ready"] == true })
	z.finalize("n1", 2, http.StatusOK)
	z.until("there is a key", func() bool {
		phase, _ := z.rotation("n2")
		return phase == "done"
	})
	z.volume("n2", pool, "after")
	if ring := secretRing(t, z.servers["n2"].dir); len(ring) != 1 || ring[0] != secretRing(t, z.servers["n1"].dir)[0] {
		t.Errorf("n2 has the keys %v", ring)
	}
	if z.servers["n2"].node.SealedText(pool) == "" {
		t.Error("the secret lies in clear")
	}
	closeTogether(z)
}

// TestTheSameSecretIsNoChange: given again it leaves everything as it is, and a request with the same key is the same.
func TestTheSameSecretIsNoChange(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t), simOnly)
	pool := s.securePool("p", "", planted()[0])
	revision := func() any {
		_, body := s.call(http.MethodGet, "/v1/pools/"+pool, nil)
		return body["spec"]
	}
	was := revision()
	for _, given := range []any{planted()[0], map[string]any{"set": true}} {
		body := map[string]any{"spec": map[string]any{"properties": map[string]any{"accessKey": given}}}
		before := s.node.SealedText(pool)
		if status, op := s.patch("/v1/pools/"+pool, body); op["phase"] != "succeeded" {
			t.Fatalf("%v: %d %v", given, status, op)
		}
		if s.node.SealedText(pool) != before || before == "" {
			t.Errorf("%v: sealed anew", given)
		}
	}
	forged := map[string]any{"sealed": s.node.SealedText(pool) + "x"}
	body := map[string]any{"spec": map[string]any{"properties": map[string]any{"accessKey": forged}}}
	if status, answer := s.patch("/v1/pools/"+pool, body); status != http.StatusUnprocessableEntity {
		t.Errorf("what looks like a sealed secret: %d %v", status, answer)
	}
	body = map[string]any{"spec": map[string]any{"properties": map[string]any{"accessKey": nil}}}
	if status, op := s.patch("/v1/pools/"+pool, body); op["phase"] != "succeeded" || s.node.SealedText(pool) != "" {
		t.Errorf("taken away: %d %v", status, op)
	}
	if fmt.Sprint(was) == fmt.Sprint(revision()) {
		t.Error("it is shown as before")
	}
}

// TestAKeyringThatIsAwayIsMissed: nothing is given up or done without it, and all goes on when it is back.
func TestAKeyringThatIsAwayIsMissed(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, dir, simOnly)
	pool := s.securePool("p", "", planted()[0])
	s.close(true)
	file := filepath.Join(dir, "cluster", "secrets.keys")
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	log := &everything{}
	s = start(t, dir, simOnly, func(c *node.Config) { c.Log = log.logger() })
	z := &zone{t: t, servers: map[string]*server{"node-1": s}}
	z.until("the log says so", func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return bytes.Contains(log.text.Bytes(), []byte("copy the file secrets.keys from another node"))
	})
	if _, err := s.node.Secret(pool); resources.AsError(err).Code != "no-secret-keys" {
		t.Errorf("it opens: %v", err)
	}
	status, body := s.call("POST", "/v1/pools", map[string]any{"name": "q", "spec": map[string]any{
		"driver": simulator, "properties": map[string]any{"accessKey": planted()[1]},
	}})
	if status != http.StatusServiceUnavailable || body["code"] != "no-secret-keys" {
		t.Errorf("another secret is taken in: %d %v", status, body)
	}
	s.create("pools", map[string]any{"name": "open", "spec": map[string]any{"driver": simulator}})
	s.close(true)
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir, simOnly)
	if got, err := s.node.Secret(pool); err != nil || got != planted()[0] {
		t.Errorf("with the file it opens as %q, %v", got, err)
	}
}

// TestRestoring: with the keys all goes on as it was, and without them what is lost is named, there and later, and can
// be given again.
func TestRestoring(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t), simOnly)
	wide := map[string]any{"spec": map[string]any{"properties": map[string]any{"accessKey": planted()[1]}}}
	if status, op := s.change(simulator, wide); op["phase"] != "succeeded" {
		t.Fatalf("a secret of the driver: %d %v", status, op)
	}
	pool := s.securePool("p", "", planted()[0])
	identity := filepath.Join(t.TempDir(), "identity")
	if out, err := exec.Command("age-keygen", "-o", identity).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s; install age (scripts/setup.sh does)", err, out)
	}
	public, err := exec.Command("age-keygen", "-y", identity).Output()
	if err != nil {
		t.Fatal(err)
	}
	var plain, sealed bytes.Buffer
	if err := s.node.Backup(t.Context(), &plain, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.node.Backup(t.Context(), &sealed, []string{strings.TrimSpace(string(public))}); err != nil {
		t.Fatal(err)
	}
	token := s.token
	s.close(true)
	restored := func(open func() (io.Reader, error)) (*server, []node.LostSecrets) {
		dir := dataDir(t)
		lost, err := node.Restore(t.Context(), dir, "node-1", open)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		return start(t, dir, simOnly), lost
	}
	whole, lost := restored(func() (io.Reader, error) {
		text, err := os.Open(identity)
		if err != nil {
			return nil, err
		}
		defer text.Close()
		who, err := sealing.ParseIdentities(text, nil)
		if err != nil {
			return nil, err
		}
		content, _, err := sealing.Open(bytes.NewReader(sealed.Bytes()), who)
		return content, err
	})
	if len(lost) > 0 {
		t.Errorf("with the keys these are lost: %v", lost)
	}
	if got, err := whole.node.Secret(pool); err != nil || got != planted()[0] {
		t.Errorf("with the keys it opens as %q, %v", got, err)
	}
	whole.close(true)
	bare, lost := restored(func() (io.Reader, error) { return bytes.NewReader(plain.Bytes()), nil })
	if fmt.Sprint(lost) != fmt.Sprintf("[%v %v]", node.LostSecrets{
		Ref: lost[0].Ref, Name: "sim", Pointers: []string{"/spec/properties/accessKey"},
	}, node.LostSecrets{Ref: lost[1].Ref, Name: "p", Pointers: []string{"/spec/properties/accessKey"}}) ||
		lost[1].Ref.ID != pool {
		t.Errorf("without the keys these are lost: %v", lost)
	}
	bare.goesOnWithout(pool)
}

// goesOnWithout gives what is lost again.
func (s *server) goesOnWithout(pool string) {
	t := s.t
	t.Helper()
	z := &zone{t: t, servers: map[string]*server{"node-1": s}}
	z.until("it says what is lost", func() bool {
		shown, reason := s.shownKey(pool)
		return shown == "map[set:false]" && strings.Contains(reason, "accessKey")
	})
	if got, err := s.node.Secret(pool); resources.AsError(err).Code != resources.CodeSecretLost {
		t.Errorf("it opens as %q, %v", got, err)
	}
	s.makesVolume(s.securePool("another", "", planted()[2]), "in-another")
	z.until("there is another key", func() bool {
		phase, _ := z.rotation("node-1")
		return phase == "done"
	})
	body := map[string]any{"spec": map[string]any{"properties": map[string]any{"accessKey": planted()[3]}}}
	if status, op := s.patch("/v1/pools/"+pool, body); op["phase"] != "succeeded" {
		t.Fatalf("giving it again: %d %v", status, op)
	}
	if status, op := s.change(simulator, body); op["phase"] != "succeeded" {
		t.Fatalf("giving that of the driver again: %d %v", status, op)
	}
	z.until("nothing is lost", func() bool {
		shown, reason := s.shownKey(pool)
		return shown == "map[set:true]" && !strings.Contains(reason, "accessKey")
	})
	if got, err := s.node.Secret(pool); err != nil || got != planted()[3] {
		t.Errorf("given again it opens as %q, %v", got, err)
	}
	if s.inState(planted()[3]) {
		t.Error("it lies in clear")
	}
}

func (s *server) makesVolume(pool, name string) {
	s.t.Helper()
	s.create("volumes", map[string]any{"name": name, "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 20}})
}

// patch changes a resource and waits.
func (s *server) patch(path string, body any) (int, map[string]any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.send("PATCH", path+"?wait=60s", "application/merge-patch+json", bytes.NewReader(text))
}
