package host_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
)

func itoa(n int) string { return strconv.Itoa(n) }

func unitOf(t *testing.T, text string) *driverpb.Unit {
	t.Helper()
	var unit driverpb.Unit
	if err := json.Unmarshal([]byte(text), &unit); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return &unit
}

// launcher is a manifest that may launch sleep and the shell.
func launcherManifest(t *testing.T) host.Manifest {
	t.Helper()
	m := manifest(t, "test/launcher")
	m.Permissions.Launch = []host.Program{
		{Path: "/bin/sleep"},
		{Path: "/bin/sh", Exec: []string{"/bin/sleep", "/bin/cat", "/usr/bin/id"}, Capabilities: []string{"net_admin"}},
	}
	return m
}

func launchText(t *testing.T, launch *driverpb.Launch) string {
	t.Helper()
	text, err := json.Marshal(launch)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestUnitIsNobodysChildAndSurvivesTheDriver(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, launcherManifest(t), host.Setup{})
	launch := launchText(t, &driverpb.Launch{Unit: "guest-1", Argv: []string{"/bin/sleep", "1000"}})
	unit := unitOf(t, must(t, instance, "t1", "launch", launch))
	if !unit.GetRunning() || unit.GetUid() != 62001 {
		t.Errorf("got %v, want it running as the driver's user", unit)
	}
	parent := statusField(t, int(unit.GetPid()), "PPid")
	if parent == itoa(os.Getpid()) || parent == itoa(instance.PID()) {
		t.Errorf("the unit's parent is %s, the server or the driver", parent)
	}
	first := instance.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the driver was started again", func() bool {
		return instance.State() == host.StateRunning && instance.PID() != first
	})
	again := unitOf(t, must(t, instance, "t2", "launch", launch))
	if again.GetPid() != unit.GetPid() {
		t.Errorf("launching again made process %d, want %d", again.GetPid(), unit.GetPid())
	}
	ended := unitOf(t, must(t, instance, "t3", "terminate", "guest-1", "5s"))
	if ended.GetRunning() || ended.GetExitCode() != 128+15 {
		t.Errorf("got %v, want ended by SIGTERM", ended)
	}
	ended = unitOf(t, must(t, instance, "t4", "terminate", "guest-1", "5s"))
	if ended.GetRunning() {
		t.Errorf("terminating again: got %v", ended)
	}
	if got := unitOf(t, must(t, instance, "t5", "terminate", "never-was", "0s")); got.GetRunning() {
		t.Errorf("terminating what never was: got %v", got)
	}
	_, err := do(bounded(t), instance, "t6", "inspect", "never-was")
	wantFault(t, err, driverpb.Class_CLASS_NOT_FOUND, "unit-unknown")
}

func statusField(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestUnitLaunchedManyTimesAtOnceRunsOnce(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, launcherManifest(t), host.Setup{})
	launch := launchText(t, &driverpb.Launch{Unit: "guest-1", Argv: []string{"/bin/sleep", "1000"}})
	pids := make(chan int64, 16)
	var asking sync.WaitGroup
	for n := range 16 {
		asking.Go(func() {
			said, err := do(bounded(t), instance, "t"+itoa(n), "launch", launch)
			if err != nil {
				t.Error(err)
				return
			}
			pids <- unitOf(t, said).GetPid()
		})
	}
	asking.Wait()
	close(pids)
	seen := map[int64]bool{}
	for pid := range pids {
		seen[pid] = true
	}
	if len(seen) != 1 {
		t.Errorf("16 launches made processes %v, want one", seen)
	}
}

func TestUnitsEndIsRecordedWithItsLog(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, launcherManifest(t), host.Setup{})
	work := filepath.Join(must(t, instance, "t0", "work-dir"), "machines", "m-1")
	unit := unitOf(t, must(t, instance, "t1", "launch", launchText(t, &driverpb.Launch{
		Unit: "guest-1", WorkDir: work,
		Argv: []string{"/bin/sh", "-c", "echo said by the unit; echo in its directory > file; exit 3"},
	})))
	until(t, "the unit ended", func() bool {
		unit = unitOf(t, must(t, instance, "k"+itoa(tick()), "inspect", "guest-1"))
		return !unit.GetRunning()
	})
	if unit.ExitCode == nil || unit.GetExitCode() != 3 {
		t.Errorf("got %v, want exit code 3", unit)
	}
	until(t, "the driver can read the unit's log", func() bool {
		text, err := do(bounded(t), instance, "k"+itoa(tick()), "read", unit.GetLogPath())
		return err == nil && text == "said by the unit\n"
	})
	if got := must(t, instance, "t2", "read", filepath.Join(work, "file")); got != "in its directory\n" {
		t.Errorf("got %q in the unit's directory", got)
	}
}

func TestUnitsAreConfined(t *testing.T) {
	dir := stateDir(t)
	h := open(t, quick(dir))
	m := launcherManifest(t)
	m.DataGroup = true
	instance := started(t, h, m, host.Setup{})
	work := filepath.Join(must(t, instance, "t0", "work-dir"), "m-1")
	script := `id -u; id -g; while read -r line; do echo "$line"; done < /proc/self/status
cat /etc/shadow; echo x > /tmp/unit-was-here; cat ` + dir + `/drivers/test.launcher/1.0.0/process.json; kill -0 1; true`
	launch := launchText(t, &driverpb.Launch{
		Unit: "guest-1", WorkDir: work, Argv: []string{"/bin/sh", "-c", script}, Capabilities: []string{"net_admin"},
	})
	unit := unitOf(t, must(t, instance, "t1", "launch", launch))
	until(t, "the unit ended", func() bool {
		unit = unitOf(t, must(t, instance, "k"+itoa(tick()), "inspect", "guest-1"))
		return !unit.GetRunning()
	})
	said, err := os.ReadFile(unit.GetLogPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"62000\n62000\n", "/etc/shadow: Permission denied", "/tmp/unit-was-here: Permission denied",
		"process.json: Permission denied", "kill: Operation not permitted", "CapEff:	0000000000001000",
		"NoNewPrivs:	1", "Seccomp:	2",
	} {
		if !strings.Contains(string(said), want) {
			t.Errorf("the unit's output lacks %q:\n%s", want, said)
		}
	}
	if _, err := os.Stat("/tmp/unit-was-here"); err == nil {
		_ = os.Remove("/tmp/unit-was-here")
		t.Error("the unit wrote to /tmp")
	}
}

// finished launches a unit with the shell and returns it when it has ended, and what it said.
func finished(t *testing.T, instance *host.Instance, name, script string) (unit *driverpb.Unit, said string) {
	t.Helper()
	launch := launchText(t, &driverpb.Launch{Unit: name, Argv: []string{"/bin/sh", "-c", script}})
	must(t, instance, "k"+itoa(tick()), "launch", launch)
	until(t, "the unit ended", func() bool {
		unit = unitOf(t, must(t, instance, "k"+itoa(tick()), "inspect", name))
		return !unit.GetRunning()
	})
	log, err := os.ReadFile(unit.GetLogPath())
	if err != nil {
		t.Fatal(err)
	}
	return unit, string(log)
}

func TestUnitsOfOneUserCantSignalEachOther(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, launcherManifest(t), host.Setup{})
	victim := unitOf(t, must(t, instance, "t1", "launch", launchText(t, &driverpb.Launch{
		Unit: "victim", Argv: []string{"/bin/sleep", "1000"},
	})))
	_, said := finished(t, instance, "attacker", "kill -9 "+itoa(int(victim.GetPid())))
	if !strings.Contains(said, "Operation not permitted") {
		t.Errorf("the attacker said %q", said)
	}
	if victim = unitOf(t, must(t, instance, "t2", "inspect", "victim")); !victim.GetRunning() {
		t.Errorf("got %v, want the victim alive", victim)
	}
}

func TestNothingAUnitStartedSurvivesIt(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, launcherManifest(t), host.Setup{})
	const length = "87654.3211"
	finished(t, instance, "parent", "/bin/sleep "+length+" & exit 0")
	until(t, "the unit's child is gone too", func() bool { return findProcess(t, length) == 0 })
}

func TestOnlyWhatIsDeclaredIsLaunched(t *testing.T) {
	dir := stateDir(t)
	h := open(t, quick(dir))
	instance := started(t, h, launcherManifest(t), host.Setup{})
	work := must(t, instance, "t0", "work-dir")
	must(t, instance, "t00", "symlink", "/etc", filepath.Join(work, "link"))
	sleep := []string{"/bin/sleep", "1000"}
	cases := map[string]struct {
		launch *driverpb.Launch
		class  driverpb.Class
		code   string
	}{
		"other program": {
			&driverpb.Launch{Unit: "u", Argv: []string{"/bin/cat"}},
			driverpb.Class_CLASS_DENIED, "not-declared",
		},
		"no program": {&driverpb.Launch{Unit: "u"}, driverpb.Class_CLASS_INVALID, "argv-missing"},
		"capability": {
			&driverpb.Launch{Unit: "u", Argv: sleep, Capabilities: []string{"sys_admin"}},
			driverpb.Class_CLASS_DENIED, "not-declared",
		},
		"device": {
			&driverpb.Launch{Unit: "u", Argv: sleep, Devices: []string{"/dev/mem"}},
			driverpb.Class_CLASS_DENIED, "not-declared",
		},
		"namespace": {
			&driverpb.Launch{Unit: "u", Argv: sleep, NetNamespace: "/proc/1/ns/net"},
			driverpb.Class_CLASS_DENIED, "not-declared",
		},
		"name": {&driverpb.Launch{Unit: "../u", Argv: sleep}, driverpb.Class_CLASS_INVALID, "unit-invalid"},
		"foreign directory": {
			&driverpb.Launch{Unit: "u", Argv: sleep, WorkDir: "/etc/unit"},
			driverpb.Class_CLASS_DENIED, "path-not-granted",
		},
		"foreign directory by dots": {
			&driverpb.Launch{Unit: "u", Argv: sleep, WorkDir: work + "/../x"},
			driverpb.Class_CLASS_INVALID, "path-invalid",
		},
		"foreign directory by link": {
			&driverpb.Launch{Unit: "u", Argv: sleep, WorkDir: work + "/link/x"},
			driverpb.Class_CLASS_INTERNAL, "internal",
		},
		"foreign path by link": {
			&driverpb.Launch{Unit: "u", Argv: sleep, WritePaths: []string{work + "/link/passwd"}},
			driverpb.Class_CLASS_DENIED, "path-not-granted",
		},
		"foreign path": {
			&driverpb.Launch{Unit: "u", Argv: sleep, ReadPaths: []string{"/etc/shadow"}},
			driverpb.Class_CLASS_DENIED, "path-not-granted",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := do(bounded(t), instance, "k"+itoa(tick()), "launch", launchText(t, c.launch))
			wantFault(t, err, c.class, c.code)
		})
	}
	if _, err := os.Stat("/etc/x"); err == nil {
		t.Error("a directory was made in /etc")
	}
}

func TestUnitsOfAReusedPidAreNotTouched(t *testing.T) {
	dir := stateDir(t)
	first := openRaw(t, quick(dir))
	instance := started(t, first, launcherManifest(t), host.Setup{})
	launch := launchText(t, &driverpb.Launch{Unit: "guest-1", Argv: []string{"/bin/sleep", "1000"}})
	unit := unitOf(t, must(t, instance, "t1", "launch", launch))
	first.Close()
	path := filepath.Join(dir, "units", "test.launcher", "guest-1", "unit.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(string(text), `"pid": `+itoa(int(unit.GetPid())), `"pid": `+itoa(os.Getpid()), 1)
	if err := os.WriteFile(path, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	second := open(t, quick(dir))
	instance = started(t, second, launcherManifest(t), host.Setup{})
	got := unitOf(t, must(t, instance, "t2", "inspect", "guest-1"))
	if got.GetRunning() {
		t.Errorf("got %v, want a unit that is no more", got)
	}
	if _, err := process.Identify(int(unit.GetPid())); err == nil {
		t.Error("what was left in the unit's group still runs, though the unit is taken for ended")
	}
}

// TestEndedUnitsAreForgottenInTheEnd keeps the last ones, with their logs, and whatever runs.
func TestEndedUnitsAreForgottenInTheEnd(t *testing.T) {
	const kept, launched = 32, 40
	dir := stateDir(t)
	first := openRaw(t, quick(dir))
	instance := started(t, first, launcherManifest(t), host.Setup{})
	lasting := unitOf(t, must(t, instance, "t1", "launch", launchText(t, &driverpb.Launch{
		Unit: "lasting", Argv: []string{"/bin/sleep", "1000"},
	})))
	for n := range launched {
		finished(t, instance, "brief-"+itoa(n), "echo "+itoa(n))
	}
	count := func() int {
		entries, err := os.ReadDir(filepath.Join(dir, "units", "test.launcher"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	until(t, "the first ones are forgotten", func() bool { return count() == kept+1 })
	_, err := do(bounded(t), instance, "t2", "inspect", "brief-0")
	wantFault(t, err, driverpb.Class_CLASS_NOT_FOUND, "unit-unknown")
	last := unitOf(t, must(t, instance, "t3", "inspect", "brief-"+itoa(launched-1)))
	if said, err := os.ReadFile(last.GetLogPath()); err != nil || string(said) != itoa(launched-1)+"\n" {
		t.Errorf("the last one said %q, %v", said, err)
	}
	finished(t, instance, "brief-0", "exit 0") // a name may come again
	first.Close()
	if err := os.MkdirAll(filepath.Join(dir, "units", "test.launcher", "never-launched", "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	second := open(t, quick(dir))
	if got := count(); got != kept+1 {
		t.Errorf("after a restart there are %d units, want %d", got, kept+1)
	}
	instance = started(t, second, launcherManifest(t), host.Setup{})
	now := unitOf(t, must(t, instance, "t4", "inspect", "lasting"))
	if !now.GetRunning() || now.GetPid() != lasting.GetPid() {
		t.Errorf("the lasting unit is now %v", now)
	}
}
