package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/killed"
)

// recoverEnv has a child recover the node of a data directory.
const recoverEnv = "NODE_TEST_RECOVER"

// recoverDir is what the child does. It keeps nothing from happening.
func recoverDir(dir string) error {
	_, err := node.Recover(context.Background(), dir, func(node.Estate) error { return nil })
	return err
}

// lostZone is three nodes with a pool and a volume on each, of which all were stopped.
func lostZone(t *testing.T) (z *zone, dirs map[string]string, volumes map[string]string, token string) {
	t.Helper()
	z = newZone(t, "n1", "n2", "n3")
	dirs, volumes, token = map[string]string{}, map[string]string{}, z.servers["n1"].token
	for name, s := range z.servers {
		dirs[name] = s.dir
		pool := s.create("pools", map[string]any{
			"name": "pool-" + name, "spec": map[string]any{
				"driver": "bulkhead/sim", "node": name, "properties": map[string]any{"accessKey": planted()[0]},
			},
		})
		volumes[name] = s.create("volumes", map[string]any{
			"name": "v-" + name, "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 30},
		})
	}
	z.token(z.servers["n1"], 3600)
	err := recoverDir(dirs["n3"])
	if !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("recovering a node that runs: %v, want %v", err, persistence.ErrLocked)
	}
	closeTogether(z)
	return z, dirs, volumes, token
}

// TestOneOfThreeIsRecovered makes one of three nodes a new cluster, and has the others come back.
func TestOneOfThreeIsRecovered(t *testing.T) {
	z, dirs, volumes, token := lostZone(t)
	refusal := errors.New("no")
	var estate node.Estate
	_, err := node.Recover(t.Context(), dirs["n3"], func(e node.Estate) error {
		estate = e
		return refusal
	})
	if !errors.Is(err, refusal) || len(estate.Lost) != 2 || len(estate.Members) != 3 || estate.Index < estate.Applied ||
		len(estate.Stranded) != 2 || estate.Stranded[0] != (node.Stranded{Node: "n1", Kind: "pool", Count: 1}) {
		t.Errorf("an estate of %+v, %v", estate, err)
	}
	made, err := node.Recover(t.Context(), dirs["n3"], func(node.Estate) error { return nil })
	if err != nil || made.Resumed || made.ClusterID == estate.ClusterID || made.Name != "n3" {
		t.Fatalf("Recover() = %+v, %v", made, err)
	}
	if _, err := node.Recover(t.Context(), dirs["n3"], func(node.Estate) error { return nil }); !errors.Is(
		err, node.ErrNothingLost) {
		t.Errorf("recovering again: %v, want %v", err, node.ErrNothingLost)
	}
	s := z.start("n3", dirs["n3"], token)
	z.servers = map[string]*server{"n3": s}
	status, zones := s.call(http.MethodGet, "/v1/zone", nil)
	if got := zones["status"].(map[string]any)["clusterId"]; status != http.StatusOK || got != made.ClusterID {
		t.Errorf("the zone is managed by %v, want %s", got, made.ClusterID)
	}
	if secrets, err := s.poolSecrets(); err != nil || fmt.Sprint(secrets) != fmt.Sprint(slices.Repeat(planted()[:1], 3)) {
		t.Errorf("the secrets of the pools open as %v, %v", secrets, err)
	}
	if status, v := s.call(http.MethodGet, "/v1/volumes/"+volumes["n1"], nil); status != http.StatusOK {
		t.Errorf("a volume of a lost node: %d %v", status, v)
	}
	_, pools := s.call(http.MethodGet, "/v1/pools?name=pool-n3", nil)
	pool := pools["items"].([]any)[0].(map[string]any)["id"]
	made2 := s.create("volumes", map[string]any{
		"name": "after", "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 30},
	})
	_, v := s.call(http.MethodGet, "/v1/volumes/"+made2, nil)
	if revision := uint64(v["revision"].(float64)); revision < estate.Index+1<<36 {
		t.Errorf("a revision of %d after one of %d", revision, estate.Index)
	}
	if _, open := s.call(http.MethodGet, "/v1/join-tokens", nil); len(open["items"].([]any)) != 0 {
		t.Errorf("tokens of the old cluster are good: %v", open)
	}
	_, audit := s.call(http.MethodGet, "/v1/audit", nil)
	for _, wanted := range []string{"remove n1", "remove n2", "update zone"} {
		if !strings.Contains(audited(audit), wanted) {
			t.Errorf("not in the audit log: %q\n%v", wanted, audited(audit))
		}
	}
	comesBack(t, z, dirs["n2"], token)
}

// TestARecoveryReadsTheWholeLog recovers a node whose state lags behind its log: what the log alone has counts, who the
// node is as well as what there is.
func TestARecoveryReadsTheWholeLog(t *testing.T) {
	_, dirs, _, _ := lostZone(t)
	was := admission(t, dirs["n3"])
	if was == "" || was == admission(t, dirs["n1"]) {
		t.Fatalf("before, it was let in as %q", was)
	}
	if err := os.RemoveAll(filepath.Join(dirs["n3"], "state")); err != nil {
		t.Fatal(err)
	}
	if err := recoverDir(dirs["n3"]); err != nil {
		t.Fatal(err)
	}
	if got := admission(t, dirs["n3"]); got != was {
		t.Errorf("it was let in as %q, want %q", got, was)
	}
}

// admission is that in which a node was let in, as its certificate says.
func admission(t *testing.T, dir string) string {
	t.Helper()
	identity, err := membership.Identity(filepath.Join(dir, "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	return identity.Name().Admission
}

// audited lists what was done in the data directory.
func audited(log map[string]any) string {
	var lines []string
	for _, item := range log["items"].([]any) {
		line := item.(map[string]any)
		if strings.HasPrefix(fmt.Sprint(line["principal"]), "data-directory/") {
			target := line["target"].(map[string]any)
			name := fmt.Sprint(target["id"])
			if target["kind"] == "zone" {
				name = "zone"
			}
			lines = append(lines, fmt.Sprint(line["action"], " ", name))
		}
	}
	return strings.Join(lines, "\n")
}

// comesBack starts a node of the old cluster, which is refused, and joins it anew under its old name.
func comesBack(t *testing.T, z *zone, dir, token string) {
	t.Helper()
	old := &journal{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		config := node.Config{DataDir: dir, Listen: "127.0.0.1:0", Version: "test", Log: old.logger()}
		simOnly(&config)
		n, err := node.Start(ctx, config)
		if err == nil {
			err = errors.Join(errors.New("it serves"), n.Close(context.Background()))
		}
		ended <- err
	}()
	z.until("the old node hears that it is refused", func() bool {
		return old.has("belongs to another cluster", "was recovered without it")
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the old node ends with %v", err)
	}
	if nodes := z.nodes("n3"); len(nodes) != 1 {
		t.Errorf("the new cluster has %v", nodes)
	}
	for _, part := range []string{"raft", "state", "cluster"} {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			t.Fatal(err)
		}
	}
	member := node.Member{Name: "n2", Advertise: z.address["n2"]}
	if err := node.Join(t.Context(), dir, z.address["n3"], z.token(z.servers["n3"], 3600), member, "test"); err != nil {
		t.Fatal(err)
	}
	z.servers["n2"] = z.start("n2", dir, token)
	z.until("both vote", func() bool {
		nodes := z.nodes("n3")
		return len(nodes) == 2 && nodes[0]["role"] != "learner" && nodes[1]["role"] != "learner"
	})
	_, pools := z.servers["n2"].call(http.MethodGet, "/v1/pools?name=pool-n2", nil)
	pool := pools["items"].([]any)[0].(map[string]any)["id"]
	z.servers["n2"].create("volumes", map[string]any{
		"name": "again", "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 30},
	})
	closeTogether(z)
}

// TestARecoveryIsKilledAtEachChange kills a recovery at each change of a directory: the old cluster is there or the new
// one, whole, and the same again finishes.
func TestARecoveryIsKilledAtEachChange(t *testing.T) {
	_, dirs, _, _ := lostZone(t)
	before, err := membership.Load(filepath.Join(dirs["n3"], "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	root := dataDir(t)
	outcomes := map[killOutcome]int{}
	// Most changes are those of making the copy: of these not each is tried.
	const stride = 6
	at := 1
	for recoverKilledAt(t, filepath.Join(root, "search"), dirs["n3"], at, before.ClusterID) == killedBefore {
		outcomes[killedBefore]++
		at += stride
	}
	for at -= stride; ; at++ {
		outcome := recoverKilledAt(t, filepath.Join(root, "each"), dirs["n3"], at, before.ClusterID)
		outcomes[outcome]++
		if outcome == notKilled {
			break
		}
	}
	t.Logf("%v, %d changes", outcomes, at-1)
	if outcomes[killedBefore] < 5 || outcomes[killedAfter] < 10 {
		t.Error("it was killed too seldom before or after it was decided")
	}
}

// killOutcome is what there was after a kill.
type killOutcome string

const (
	killedBefore killOutcome = "the old cluster"
	killedAfter  killOutcome = "the new cluster"
	notKilled    killOutcome = "all was done"
)

// recoverKilledAt recovers a copy of a node, killed at a change, and then again.
func recoverKilledAt(t *testing.T, dir, from string, n int, old string) killOutcome {
	t.Helper()
	copyOf(t, from, dir)
	defer os.RemoveAll(dir)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), recoverEnv+"="+dir)
	outcome := notKilled
	if killed.At(t, cmd, n) {
		outcome = killedAfter
	}
	made, err := node.Recover(t.Context(), dir, func(e node.Estate) error {
		if e.ClusterID != old || len(e.Members) != 3 || outcome == notKilled {
			t.Errorf("killed at %d: the old cluster is %+v", n, e)
		}
		outcome = killedBefore
		return nil
	})
	if !errors.Is(err, node.ErrNothingLost) && (err != nil || made.ClusterID == old) {
		t.Errorf("killed at %d: again: %+v, %v", n, made, err)
	}
	mustBeRecovered(t, dir, n)
	return outcome
}

// mustBeRecovered checks that all in a directory is of one new cluster.
func mustBeRecovered(t *testing.T, dir string, n int) {
	t.Helper()
	m, err := membership.Load(filepath.Join(dir, "cluster"))
	if err != nil {
		t.Fatalf("killed at %d: %v", n, err)
	}
	s, err := cluster.OpenSurvivor(filepath.Join(dir, "raft"))
	if err != nil {
		t.Fatalf("killed at %d: %v", n, err)
	}
	defer s.Close()
	known, err := s.Testify()
	if err != nil || known.ClusterID != m.ClusterID || len(known.Members) != 1 {
		t.Errorf("killed at %d: membership of %s, log of %+v, %v", n, m.ClusterID, known, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "recover*"))
	if err != nil || len(left) > 0 {
		t.Errorf("killed at %d: %v is left, %v", n, left, err)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "before-recovery-*", "raft", "identity.json"))
	if err != nil || len(kept) != 1 {
		t.Errorf("killed at %d: what it was before is in %v, %v", n, kept, err)
	}
}

// copyOf copies what a recovery looks at of a data directory.
func copyOf(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"raft", "state", "cluster"} {
		cmd := exec.Command("cp", "-a", "--sparse=always", filepath.Join(from, part), to)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("copying: %v: %s", err, out)
		}
	}
}

// journal keeps what a node logs.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// Write implements io.Writer.
func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// has reports whether one line has all parts.
func (j *journal) has(parts ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}
