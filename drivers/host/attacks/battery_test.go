package attacks_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

const nobody = 65534

// TestBattery has a hostile driver try everything at every level, and compares what docs/security.md says of it.
func TestBattery(t *testing.T) {
	t.Parallel()
	all := settings()
	reports := make([]*sandbox.Report, len(all))
	t.Run("levels", func(t *testing.T) {
		for n, s := range all {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				got := attackServer(t, s)
				if got.Report.Level != s.level {
					t.Errorf("it reports %s, want %s: %+v", got.Report.Level, s.level, got.Report)
				}
				for _, a := range battery() {
					check(t, &a, got)
				}
				reports[n] = &got.Report
			})
		}
	})
	if t.Failed() || slices.Contains(reports, nil) { // nil are those that -run leaves out
		return
	}
	compareDocument(t, table(all, reports), reports)
}

// check compares what came of an attack with what the mechanisms should have made of it.
func check(t *testing.T, a *attack, got *results) {
	t.Helper()
	said, tried := got.Outcomes[a.name]
	expected := a.possible(&got.Report)
	switch {
	case !tried:
		t.Errorf("%s was not tried", a.name)
	case said == "" && got.Report.Level == sandbox.LevelStrong:
		t.Errorf("%s is possible at the strongest level", a.name)
	case said == "" && !expected:
		t.Errorf("%s is possible, though one of %v is applied", a.name, a.stops)
	case said != "" && expected && !a.kernelToo:
		t.Errorf("%s is refused (%s), though none of %v is applied: the table is wrong", a.name, said, a.stops)
	case testing.Verbose() && said != "":
		t.Logf("%s: %s", a.name, said)
	}
}

// TestEveryAttackWorks shows that nothing of the battery is refused for other reasons: it works without a sandbox.
func TestEveryAttackWorks(t *testing.T) {
	t.Parallel()
	dir := surroundings(t, 0)
	s := &server{dir: dir}
	victim := exec.Command(sleepProgram, "1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, closer := range s.opened {
			_ = closer.Close()
		}
		_ = victim.Process.Kill()
		_ = victim.Wait()
	})
	s.world = world{ServerPID: victim.Process.Pid, UnitPID: victim.Process.Pid, Sibling: filepath.Join(dir, "pool")}
	if err := s.openSurroundings(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s.world)
	if err != nil {
		t.Fatal(err)
	}
	free := exec.Command(filepath.Join(dir, "program"), roleFree, string(text))
	free.Dir, free.Stderr = filepath.Join(dir, "pool"), os.Stderr
	out, err := free.Output()
	if err != nil {
		t.Fatal(err)
	}
	var outcomes map[string]string
	if err := json.Unmarshal(out, &outcomes); err != nil {
		t.Fatal(err)
	}
	for _, a := range battery() {
		said, tried := outcomes[a.name]
		switch {
		case a.needsHost || a.try == nil || said == "" && tried:
		case a.kernelToo:
			t.Logf("%s is refused by this kernel: %s", a.name, said)
		default:
			t.Errorf("%s does not work without a sandbox either: %s", a.name, said)
		}
	}
}

// attackServer runs the battery against a server of a setting.
func attackServer(t *testing.T, s setting) *results {
	t.Helper()
	user := uint32(nobody)
	if s.root {
		user = 0
	}
	dir := surroundings(t, user)
	var said bytes.Buffer
	process := exec.Command(filepath.Join(dir, "program"), roleServer, dir, strings.Join(s.without, ","))
	process.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	process.Stderr = &said
	out, err := process.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	var got results
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &got
}

// surroundings makes a directory with this program and with what is around it, all of which belongs to a user.
func surroundings(t *testing.T, user uint32) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "attacks") // short enough for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []struct {
		name    string
		content []byte
		mode    os.FileMode
	}{
		{"", nil, 0o755},
		{"pool", nil, 0o777},
		{"code", nil, 0o755},
		{"code/module", []byte("code"), 0o644},
		{"secret", []byte("secret"), 0o644},
		{"program", program, 0o755},
		{"setuid", program, 0o755},
	} {
		path := filepath.Join(dir, file.name)
		if file.content == nil {
			err = os.MkdirAll(path, 0o700)
		} else {
			err = os.WriteFile(path, file.content, 0o600)
		}
		if err == nil {
			err = os.Chown(path, int(user), int(user))
		}
		if err == nil {
			err = os.Chmod(path, file.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	setuid := filepath.Join(dir, "setuid")
	if err := os.Chown(setuid, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(setuid, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	return dir
}
