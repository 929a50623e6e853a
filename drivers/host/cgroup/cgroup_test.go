package cgroup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
)

func tree(t *testing.T) *cgroup.Tree {
	t.Helper()
	opened := cgroup.Open(fmt.Sprintf("bulkhead-test-%d", os.Getpid()), cgroup.Places{})
	t.Cleanup(func() {
		if err := opened.Remove(); err != nil {
			t.Error(err)
		}
	})
	for _, missing := range opened.Missing() {
		t.Logf("%s is missing: %s (%s)", missing.Mechanism, missing.Reason, missing.Remedy)
		if missing.Remedy == "" || missing.Reason == "" {
			t.Error("without reason or remedy")
		}
	}
	return opened
}

func TestKillReachesWhoLeftTheSession(t *testing.T) {
	opened := tree(t)
	group, err := opened.Group("g", cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	shell := begin(t, group, "setsid sleep 1000 & sleep 1000 & wait")
	untilMembers(t, group, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := group.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	_ = shell.Wait()
	if members, err := group.Processes(); err != nil || len(members) != 0 {
		t.Errorf("got %v, %v; want nobody left", members, err)
	}
	if err := group.Remove(); err != nil {
		t.Error(err)
	}
	if err := group.Kill(ctx); err != nil {
		t.Errorf("killing a group that is gone: %v", err)
	}
	if err := group.Remove(); err != nil {
		t.Errorf("removing a group that is gone: %v", err)
	}
}

func untilMembers(t *testing.T, group *cgroup.Group, want int) {
	t.Helper()
	for began := time.Now(); ; {
		members, err := group.Processes()
		if err != nil {
			t.Fatal(err)
		}
		if len(members) == want {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("got members %v, want %d", members, want)
		}
	}
}

// begin starts a shell in a group that waits with its script until it is in there.
func begin(t *testing.T, group *cgroup.Group, script string) *exec.Cmd {
	t.Helper()
	shell := exec.Command("/bin/sh", "-c", "read go; "+script)
	input, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	if err := group.Add(shell.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := input.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	return shell
}

func TestTreeStaysWhereItWas(t *testing.T) {
	before := tree(t)
	again := cgroup.Open("another-name", before.Places())
	if again.Places() != before.Places() {
		t.Errorf("got %+v, want %+v", again.Places(), before.Places())
	}
}

func TestTreeGoesWithTheGroupsInIt(t *testing.T) {
	opened := tree(t)
	if _, err := opened.Group("empty", cgroup.Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := opened.Remove(); err != nil {
		t.Error(err)
	}
	places := opened.Places()
	for _, dir := range []string{places.Unified, places.Memory, places.Processes} {
		if _, err := os.Stat(dir); dir != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", dir, err)
		}
	}
}

func TestLimits(t *testing.T) {
	opened := tree(t)
	if !opened.Able(cgroup.Processes) {
		t.Fatal("no writable pids controller: run as root, with cgroups")
	}
	group, err := opened.Group("g", cgroup.Limits{MemoryBytes: 64 << 20, Processes: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := group.Kill(ctx); err != nil {
			t.Error(err)
		}
		if err := group.Remove(); err != nil {
			t.Error(err)
		}
	}()
	shell := begin(t, group, "sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & wait")
	_ = shell.Wait() // the shell gives up when it can't fork
	members, err := group.Processes()
	if err != nil || len(members) > 3 {
		t.Errorf("got members %v, %v; want at most three", members, err)
	}
}
