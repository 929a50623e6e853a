package membership_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/killed"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// TestKilledAtEachWrite kills a command as it is about to change the directory for the first time, the second, and so
// on, until it is through. Each time there is no member or a whole one, and the same command makes one.
func TestKilledAtEachWrite(t *testing.T) {
	h := newHouse(t)
	root := t.TempDir()
	for name, prepare := range map[string]func(n int) command{
		"found": func(int) command { return command{} },
		"join": func(n int) command {
			return command{Address: h.address, Token: h.token(pki.RoleNode, fmt.Sprint("t", n)).Text()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, killed := 0, true
			for n := 1; killed; n++ {
				c := prepare(n)
				c.Dir, c.Member = filepath.Join(root, fmt.Sprint(name, n)), ours("n2")
				killed = killAt(t, c, n)
				_, err := membership.Load(c.Dir)
				switch {
				case err == nil: // what it was about to do is to clean up
					members++
					mustBeMember(t, c.Dir, "n2", pki.RoleNode, membership.AttemptFile)
				case !errors.Is(err, membership.ErrNone) || !killed:
					t.Errorf("killed at write %d: %v", n, err)
				default:
					if err := c.run(); err != nil {
						t.Errorf("the same after it was killed at write %d: %v", n, err)
						continue
					}
					mustBeMember(t, c.Dir, "n2", pki.RoleNode)
				}
				if n == 1000 {
					t.Fatal("it does not end")
				}
				if !killed {
					t.Logf("%d writes, %d of them after it is a member", n-1, members-1)
					if n < 10 {
						t.Error("it was killed too seldom to show anything")
					}
				}
			}
			if members < 2 {
				t.Error("what makes it a member is not written before the end")
			}
		})
	}
}

// killAt runs a command in a process and kills it as it is about to change a directory for the n-th time. It reports
// whether it was killed.
func killAt(t *testing.T, c command, n int) bool {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), commandEnv+"="+string(text))
	return killed.At(t, cmd, n)
}

// TestThePowerIsCut cuts the power as soon as a command has said that it is done.
func TestThePowerIsCut(t *testing.T) {
	disk := powercut.New(t, 16<<20)
	for n := range 3 {
		dir := filepath.Join(disk.Dir, fmt.Sprint("member", n))
		m, err := membership.Found(dir, ours("n1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := disk.Cut(func() {}); err != nil {
			t.Fatal(err)
		}
		disk.Restore(t)
		if got := mustBeMember(t, dir, "n1", pki.RoleNode); got != m {
			t.Errorf("it was %+v and is %+v", m, got)
		}
	}
}
