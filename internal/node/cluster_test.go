package node_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// zone is several nodes on loopback.
type zone struct {
	t       *testing.T
	servers map[string]*server
	address map[string]string // where others reach a node
}

// freeAddress finds a port that nobody has.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// simOnly keeps the drivers to the simulator: a node has all of them otherwise.
func simOnly(c *node.Config) {
	for _, b := range node.BuiltIns() {
		if b.Name == "sim" {
			c.BuiltIns = []node.BuiltIn{b}
		}
	}
	c.Lease = 2 * time.Second
}

// newZone starts nodes: the first makes the cluster, the others join.
func newZone(t *testing.T, names ...string) *zone {
	t.Helper()
	return newZoneWith(t, names)
}

// newZoneWith is newZone of nodes with options.
func newZoneWith(t *testing.T, names []string, options ...func(*node.Config)) *zone {
	t.Helper()
	z := &zone{t: t, servers: map[string]*server{}, address: map[string]string{}}
	for i, name := range names {
		z.address[name] = freeAddress(t)
		dir := dataDir(t)
		member := node.Member{Name: name, Advertise: z.address[name]}
		if i == 0 {
			if _, err := node.Init(dir, member); err != nil {
				t.Fatal(err)
			}
			z.servers[name] = start(t, dir, append(options, simOnly)...)
			continue
		}
		first := z.servers[names[0]]
		token := z.token(first, 3600)
		if err := node.Join(t.Context(), dir, z.address[names[0]], token, member, "test"); err != nil {
			t.Fatal(err)
		}
		z.servers[name] = z.start(name, dir, first.token, options...)
	}
	z.until("all nodes vote and have shards", func() bool {
		for _, v := range z.nodes(names[0]) {
			if v["role"] == "learner" || v["shards"].(float64) < 1 {
				return false
			}
		}
		return len(z.nodes(names[0])) == len(names)
	})
	return z
}

// start starts a node whose first token another one made.
func (z *zone) start(_, dir, token string, options ...func(*node.Config)) *server {
	z.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600); err != nil {
		z.t.Fatal(err)
	}
	return start(z.t, dir, append(options, simOnly)...)
}

func (z *zone) token(s *server, seconds int) pki.JoinToken {
	z.t.Helper()
	status, body := s.call(http.MethodPost, "/v1/join-tokens", map[string]any{"role": "node", "expiresInSeconds": seconds})
	if status != http.StatusCreated && status != http.StatusOK {
		z.t.Fatalf("making a join token: %d %v", status, body)
	}
	token, err := pki.ParseJoinToken(body["text"].(string))
	if err != nil {
		z.t.Fatal(err)
	}
	return token
}

// insist repeats a request as long as it is told to: on a busy machine nodes lose sight of each other. What was removed
// by a request whose answer was lost is not there the next time, which counts as its success.
func (z *zone) insist(asked, method, path string) (status int, body map[string]any) {
	z.t.Helper()
	tries := 0
	z.until(method+" "+path+" is answered", func() bool {
		tries++
		status, body = z.servers[asked].call(method, path, nil)
		return status != http.StatusServiceUnavailable
	})
	if method == http.MethodDelete && tries > 1 && status == http.StatusNotFound {
		return http.StatusOK, body
	}
	return status, body
}

func (z *zone) nodes(asked string) []map[string]any {
	z.t.Helper()
	status, body := z.insist(asked, http.MethodGet, "/v1/nodes")
	if status != http.StatusOK {
		z.t.Fatalf("listing nodes: %d %v", status, body)
	}
	var list []map[string]any
	for _, item := range body["items"].([]any) {
		list = append(list, item.(map[string]any))
	}
	return list
}

func (z *zone) leader(asked string) string {
	z.t.Helper()
	name := ""
	z.until("a node leads", func() bool {
		for _, v := range z.nodes(asked) {
			if v["role"] == "leader" {
				name = v["name"].(string)
			}
		}
		return name != ""
	})
	return name
}

// until looks again and again whether something is so.
func (z *zone) until(what string, so func() bool) {
	z.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !so() {
		if time.Now().After(deadline) {
			z.t.Fatalf("not after a minute: %s", what)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

// TestAnyNodeServesAndAnyDriverIsReached makes volumes through each node in pools of each: the shards of half of them
// are somewhere else than the driver.
func TestAnyNodeServesAndAnyDriverIsReached(t *testing.T) {
	names := []string{"n1", "n2", "n3"}
	z := newZone(t, names...)
	pools := map[string]string{}
	for _, name := range names {
		pools[name] = z.servers["n1"].create("pools", map[string]any{
			"name": "pool-" + name, "spec": map[string]any{"driver": "bulkhead/sim", "node": name},
		})
	}
	for _, through := range names {
		for _, on := range names {
			for i := range 4 {
				volume := z.servers[through].create("volumes", map[string]any{
					"name": fmt.Sprintf("v-%s-%s-%d", through, on, i),
					"spec": map[string]any{"poolId": pools[on], "sizeBytes": 1 << 30},
				})
				for _, reader := range names {
					status, body := z.servers[reader].call(http.MethodGet, "/v1/volumes/"+volume, nil)
					if status != http.StatusOK || body["phase"] != "available" && body["phase"] != "ready" {
						t.Errorf("%s made through %s in a pool on %s: %s says %d %v", volume, through, on, reader, status, body["phase"])
					}
				}
			}
		}
	}
	status, body := z.servers["n2"].call(http.MethodPost, "/v1/pools", map[string]any{
		"name": "nowhere", "spec": map[string]any{"driver": "bulkhead/sim", "node": "n9"},
	})
	if status != http.StatusUnprocessableEntity {
		t.Errorf("a pool on a node that is not there: %d %v", status, body)
	}
}

// TestANodeStopsAndTheOthersGoOn stops each node in turn, the leader among them, and starts it again.
func TestANodeStopsAndTheOthersGoOn(t *testing.T) {
	names := []string{"n1", "n2", "n3"}
	z := newZone(t, names...)
	pool := map[string]string{}
	for _, name := range names {
		pool[name] = z.servers[name].create("pools", map[string]any{
			"name": "pool-" + name, "spec": map[string]any{"driver": "bulkhead/sim", "node": name},
		})
	}
	for _, stopped := range names {
		s := z.servers[stopped]
		other := names[0]
		if other == stopped {
			other = names[1]
		}
		began := time.Now()
		s.close(false)
		took := time.Since(began)
		through := z.servers[other]
		for i := range 8 {
			through.create("volumes", map[string]any{
				"name": fmt.Sprintf("without-%s-%d", stopped, i),
				"spec": map[string]any{"poolId": pool[other], "sizeBytes": 1 << 30},
			})
		}
		for _, v := range z.nodes(other) {
			if v["name"] == stopped && v["shards"].(float64) > 0 {
				t.Errorf("%s stopped in %v and has %v shards still", stopped, took, v["shards"])
			}
		}
		z.servers[stopped] = z.start(stopped, s.dir, s.token)
		z.until(stopped+" has shards again", func() bool {
			for _, v := range z.nodes(other) {
				if v["name"] == stopped {
					return v["shards"].(float64) > 0
				}
			}
			return false
		})
	}
}

func TestJoiningIsRefused(t *testing.T) {
	z := newZone(t, "n1")
	first, other := z.servers["n1"], newZone(t, "m1")
	ask := func(token pki.JoinToken, name string, change func(*join.Request)) error {
		key, err := pki.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		csr, err := pki.CreateRequest(key)
		if err != nil {
			t.Fatal(err)
		}
		r := join.Request{
			Token: token, Name: name, Address: "127.0.0.1:1", Version: "test", EntryFormat: 99, CertificateRequest: csr,
			Clock: time.Now(), OldestLevel: 1, NewestLevel: 99,
		}
		if change != nil {
			change(&r)
		}
		_, err = join.Ask(t.Context(), z.address["n1"], r)
		return err
	}
	refused := func(what string, err error, code string) {
		t.Helper()
		no, ok := errors.AsType[*join.Refusal](err)
		if !ok || no.Code != code || no.Remedy == "" {
			t.Errorf("%s: %v, want a refusal %s with a remedy", what, err, code)
		}
	}
	good := z.token(first, 3600)
	wrong := good
	wrong.Secret[0] ^= 1
	host := good
	host.Role = pki.RoleHost
	refused("a wrong secret", ask(wrong, "n2", nil), "join-token-wrong")
	for off, says := range map[time.Duration]string{time.Hour: "1h0m0s ahead of", -time.Hour: "1h0m0s behind"} {
		err := ask(good, "n2", func(r *join.Request) { r.Clock = time.Now().Add(off) })
		refused("a clock an hour off", err, "clock-wrong")
		if !strings.Contains(strings.ReplaceAll(err.Error(), "59m59s", "1h0m0s"), says) {
			t.Errorf("a clock off by %v: %v", off, err)
		}
	}
	refused("an old program", ask(good, "n2", func(r *join.Request) { r.EntryFormat = 1 }), "program-too-old")
	refused("a program that knows no levels", ask(good, "n2", func(r *join.Request) { r.NewestLevel = 0 }),
		"program-too-old")
	refused("a program of the day after tomorrow", ask(good, "n2", func(r *join.Request) { r.OldestLevel = 98 }),
		"program-too-new")
	refused("another role", ask(host, "n2", nil), "join-token-role")
	refused("a name that is taken", ask(good, "n1", nil), "name-taken")
	if err := ask(other.token(other.servers["m1"], 3600), "n2", nil); !errors.Is(err, pki.ErrPin) {
		t.Errorf("a token of another cluster: %v, want %v", err, pki.ErrPin)
	}
	status, body := first.call(http.MethodDelete, "/v1/join-tokens/"+z.token(first, 3600).ID, nil)
	if status >= http.StatusBadRequest {
		t.Errorf("taking a token back: %d %v", status, body)
	}

	dir := dataDir(t)
	member := node.Member{Name: "n2", Advertise: freeAddress(t)}
	if err := node.Join(t.Context(), dir, z.address["n1"], good, member, "test"); err != nil {
		t.Fatal(err)
	}
	again := ask(good, "n3", nil)
	refused("a token that was used", again, "join-token-used")
	if !strings.Contains(again.Error(), "by node n2") {
		t.Errorf("it is not said who used a token: %v", again)
	}
	if err := node.Join(t.Context(), dir, z.address["n1"], z.token(first, 3600), member, "test"); err == nil {
		t.Error("a directory joined twice")
	}
	if err := node.Join(t.Context(), first.dir, z.address["n1"], z.token(first, 3600), member, "test"); err == nil {
		t.Error("a directory with a zone of its own joined")
	}
	if _, err := node.Init(first.dir, node.Member{Advertise: "127.0.0.1:2"}); err == nil {
		t.Error("a cluster was begun twice in one directory")
	}
}

// TestNodesAreDrainedAndRemoved drains a node, brings it back, and removes it.
func TestNodesAreDrainedAndRemoved(t *testing.T) {
	z := newZone(t, "n1", "n2", "n3")
	shards := func(name string) int {
		for _, v := range z.nodes("n1") {
			if v["name"] == name {
				return int(v["shards"].(float64))
			}
		}
		return -1
	}
	do := func(method, path string, want int) map[string]any {
		t.Helper()
		status, body := z.insist("n1", method, path)
		if status != want {
			t.Errorf("%s %s: %d %v, want %d", method, path, status, body, want)
		}
		return body
	}
	do(http.MethodPost, "/v1/nodes/n2/actions/drain", http.StatusOK)
	z.until("n2 has nothing to do", func() bool { return shards("n2") == 0 })
	do(http.MethodPost, "/v1/nodes/n2/actions/resume", http.StatusOK)
	z.until("n2 has work again", func() bool { return shards("n2") > 0 })
	do(http.MethodPost, "/v1/nodes/n3/actions/lead", http.StatusOK)
	z.until("n3 leads", func() bool { return z.leader("n1") == "n3" })
	do(http.MethodDelete, "/v1/nodes/n9", http.StatusNotFound)

	z.servers["n2"].close(true)
	z.until("n2 is silent", func() bool {
		for _, v := range z.nodes("n1") {
			if v["name"] == "n2" {
				return v["well"] == false
			}
		}
		return false
	})
	body := do(http.MethodDelete, "/v1/nodes/n3", http.StatusConflict)
	if !strings.Contains(fmt.Sprint(body["detail"]), "n2") {
		t.Errorf("removing one of two that are left: %v", body)
	}
	do(http.MethodDelete, "/v1/nodes/n2", http.StatusOK)
	z.until("n2 is gone", func() bool { return shards("n2") < 0 })
	z.servers["n1"].create("clusters", map[string]any{"name": "two-are-enough", "spec": map[string]any{}})
	delete(z.servers, "n2")
}

// TestANodeThatWasAloneGetsOthers begins with one node as everybody does, and lets others join later.
func TestANodeThatWasAloneGetsOthers(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir, simOnly)
	pool := s.create("pools", map[string]any{"name": "old", "spec": map[string]any{"driver": "bulkhead/sim"}})
	status, body := s.call(http.MethodPost, "/v1/join-tokens", map[string]any{"role": "node"})
	if status != http.StatusConflict || body["code"] != "no-cluster" {
		t.Errorf("a join token of a node that nobody reaches: %d %v", status, body)
	}
	s.close(false)
	address := freeAddress(t)
	name, err := node.Init(dir, node.Member{Advertise: address})
	if err != nil || name != "node-1" {
		t.Fatalf("Init() = %q, %v", name, err)
	}
	z := &zone{t: t, servers: map[string]*server{}, address: map[string]string{name: address}}
	z.servers[name] = start(t, dir, simOnly)
	second := dataDir(t)
	token := z.token(z.servers[name], 3600)
	member := node.Member{Name: "node-2", Advertise: freeAddress(t)}
	if err := node.Join(t.Context(), second, address, token, member, "test"); err != nil {
		t.Fatal(err)
	}
	z.servers["node-2"] = z.start("node-2", second, s.token)
	z.until("both have shards", func() bool {
		for _, v := range z.nodes(name) {
			if v["shards"].(float64) < 1 {
				return false
			}
		}
		return len(z.nodes(name)) == 2
	})
	for i := range 8 {
		z.servers["node-2"].create("volumes", map[string]any{
			"name": fmt.Sprint("v", i), "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 30},
		})
	}
	closeTogether(z)
}

// closeTogether stops nodes none of which would be left with a majority otherwise.
func closeTogether(z *zone) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan error)
	for _, s := range z.servers {
		go func() {
			err := errors.Join(s.node.StopDrivers(ctx), s.node.Close(ctx))
			s.node = nil
			done <- err
		}()
	}
	for range z.servers {
		if err := <-done; err != nil {
			z.t.Errorf("closing: %v", err)
		}
	}
}
