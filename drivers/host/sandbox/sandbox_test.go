package sandbox_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

func TestLevels(t *testing.T) {
	good := []string{
		sandbox.MechanismNoNewPrivs, sandbox.MechanismRlimits, sandbox.MechanismFiles, sandbox.MechanismSyscalls,
	}
	strong := slices.Concat(good, []string{
		sandbox.MechanismUser, sandbox.MechanismCapabilities, sandbox.MechanismPorts, sandbox.MechanismPIDs,
		sandbox.MechanismIPC, sandbox.MechanismMemory, sandbox.MechanismProcesses,
	})
	for name, c := range map[string]struct {
		applied []string
		want    sandbox.Level
	}{
		"nothing":      {nil, sandbox.LevelNone},
		"limits":       {good[:2], sandbox.LevelBasic},
		"without file": {slices.Concat(good[:2], good[3:]), sandbox.LevelBasic},
		"good":         {good, sandbox.LevelGood},
		"nearly":       {strong[:len(strong)-1], sandbox.LevelGood},
		"strong":       {strong, sandbox.LevelStrong},
	} {
		report := sandbox.Report{Applied: c.applied}
		report.Judge()
		if report.Level != c.want {
			t.Errorf("%s: got %s, want %s", name, report.Level, c.want)
		}
	}
	if !sandbox.LevelStrong.AtLeast(sandbox.LevelGood) || sandbox.LevelBasic.AtLeast(sandbox.LevelGood) ||
		!sandbox.Level("").AtLeast("") {
		t.Error("levels are not in order")
	}
}

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]sandbox.Level{"": sandbox.LevelNone, "good": sandbox.LevelGood} {
		if got, err := sandbox.ParseLevel(text); err != nil || got != want {
			t.Errorf("%q: got %s, %v; want %s", text, got, err, want)
		}
	}
	if _, err := sandbox.ParseLevel("total"); err == nil {
		t.Error("an unknown level was accepted")
	}
}

func TestExecPaths(t *testing.T) {
	paths, err := sandbox.ExecPaths("/bin/sh")
	if err != nil || len(paths) < 2 || !strings.Contains(paths[1], "ld") {
		t.Errorf("got %v, %v; want the shell and its loader", paths, err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh -e\ntrue\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	viaScript, err := sandbox.ExecPaths(script)
	if err != nil || !slices.Equal(viaScript[1:], paths) {
		t.Errorf("got %v, %v; want the script and %v", viaScript, err, paths)
	}
	if _, err := sandbox.ExecPaths("relative"); err == nil {
		t.Error("a relative path was accepted")
	}
	if _, err := sandbox.ExecPaths("/no/such/program"); err == nil {
		t.Error("a missing program was accepted")
	}
}

func TestLandlockIsThere(t *testing.T) {
	abi, err := sandbox.LandlockABI()
	t.Logf("Landlock ABI %d, %v", abi, err)
	if (abi == 0) != (err != nil) {
		t.Errorf("got ABI %d with error %v", abi, err)
	}
}

func TestCheckCapability(t *testing.T) {
	if err := sandbox.CheckCapability("net_admin"); err != nil {
		t.Error(err)
	}
	if err := sandbox.CheckCapability("CAP_NET_ADMIN"); err == nil {
		t.Error("an unknown name was accepted")
	}
}

// FuzzExecPaths feeds arbitrary files to the readers of ELF headers and script heads.
func FuzzExecPaths(f *testing.F) {
	f.Add([]byte("#!/bin/sh\n"))
	f.Add([]byte("#!"))
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shell[:4096])
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, content, 0o700); err != nil {
			t.Fatal(err)
		}
		paths, err := sandbox.ExecPaths(path)
		if err == nil && len(paths) == 0 {
			t.Error("neither a path nor an error")
		}
		if bytes.HasPrefix(content, []byte("#!")) && err == nil && len(paths) < 2 {
			t.Errorf("a script without its interpreter: %v", paths)
		}
	})
}
