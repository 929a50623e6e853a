package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// unprivilegedOutcome is what the server without root reports.
type unprivilegedOutcome struct {
	Report       sandbox.Report
	Secret, Pool string // errors
	Unit         *driverpb.Unit
	UnitEnd      *driverpb.Unit
}

// runUnprivileged is a server that is not root: in dir is a secret file, a pool, and this program.
func runUnprivileged(dir string) int {
	outcome, err := tryUnprivileged(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "server without root:", err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcome); err != nil {
		return 1
	}
	return 0
}

func tryUnprivileged(dir string) (*unprivilegedOutcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	h, err := host.Open(quick(filepath.Join(dir, "state")))
	if err != nil {
		return nil, err
	}
	defer h.Close()
	pool := filepath.Join(dir, "pool")
	instance, err := h.Start(ctx, host.Manifest{
		Name: "test/plain", Version: "1.0.0",
		Categories:  []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		Command:     []string{filepath.Join(dir, "program"), "test-driver", "test/plain"},
		Permissions: host.Permissions{Launch: []host.Program{{Path: "/bin/sleep"}}},
		Isolation:   sandbox.LevelGood,
	}, host.Setup{Grants: []host.Grant{{Path: pool, ReadWrite: true}}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.Stop(ctx, instance.Name()) }()
	if err := instance.Await(ctx, host.StateRunning); err != nil {
		return nil, err
	}
	outcome := &unprivilegedOutcome{Report: instance.Report()}
	if _, err := do(ctx, instance, "t1", "read", filepath.Join(dir, "secret")); err != nil {
		outcome.Secret = err.Error()
	}
	if _, err := do(ctx, instance, "t2", "write", filepath.Join(pool, "a")); err != nil {
		outcome.Pool = err.Error()
	}
	said, err := do(ctx, instance, "t3", "launch", `{"unit":"u","argv":["/bin/sleep","1000"],
		"net_namespace":"/run/netns/bh-unprivileged","make_net_namespace":true}`)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(said), &outcome.Unit); err != nil {
		return nil, err
	}
	said, err = do(ctx, instance, "t4", "terminate", "u", "5s")
	if err != nil {
		return nil, err
	}
	return outcome, json.Unmarshal([]byte(said), &outcome.UnitEnd)
}

const nobody = 65534

// serveAsNobody runs a server without root and returns what it reports.
func serveAsNobody(t *testing.T) (got unprivilegedOutcome) {
	t.Helper()
	dir := filepath.Dir(poolDir(t))
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "pool")} {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	server := exec.Command(program, "test-unprivileged", dir)
	server.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	server.Stderr = os.Stderr
	out, err := server.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWithoutRootItWorksAndSaysWhatIsMissing(t *testing.T) {
	got := serveAsNobody(t)
	if got.Report.Level != sandbox.LevelGood {
		t.Errorf("got level %s, want good: %+v", got.Report.Level, got.Report)
	}
	for _, missing := range []string{sandbox.MechanismUser, sandbox.MechanismPIDs, sandbox.MechanismMemory} {
		if got.Report.Has(missing) || !strings.Contains(fmt.Sprint(got.Report.Missing), missing) {
			t.Errorf("the report does not say that %s is missing: %+v", missing, got.Report)
		}
	}
	if !strings.Contains(got.Secret, "permission denied") || got.Pool != "" {
		t.Errorf("reading the server's file: %q; writing to the pool: %q", got.Secret, got.Pool)
	}
	if !got.Unit.GetRunning() || got.Unit.GetUid() != nobody || got.UnitEnd.GetExitCode() != 128+15 {
		t.Errorf("got unit %v, then %v; want running as nobody, then ended by SIGTERM", got.Unit, got.UnitEnd)
	}
}
