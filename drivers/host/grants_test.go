package host_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// poolDir makes a directory that drivers can reach.
func poolDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	pool := filepath.Join(dir, "pool")
	if err := os.Mkdir(pool, 0o755); err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestGrantedPathIsReachableAfterARestartWithTheUnion(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.DataGroup = true
	first, second, readOnly := poolDir(t), poolDir(t), poolDir(t)
	if err := os.WriteFile(filepath.Join(readOnly, "image"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	instance := started(t, h, m, host.Setup{Grants: []host.Grant{{Path: first, ReadWrite: true}}})
	must(t, instance, "t1", "write", filepath.Join(first, "a"))
	if _, err := do(bounded(t), instance, "t2", "write", filepath.Join(second, "a")); err == nil {
		t.Error("a path that was not granted could be written to")
	}
	pid := instance.PID()
	more := []host.Grant{{Path: second, ReadWrite: true}, {Path: readOnly}}
	if err := h.EnsureGrants(bounded(t), instance.Name(), more); err != nil {
		t.Fatal(err)
	}
	if instance.PID() == pid {
		t.Error("the process was not replaced")
	}
	must(t, instance, "t3", "write", filepath.Join(first, "b"))
	must(t, instance, "t4", "write", filepath.Join(second, "b"))
	if got := must(t, instance, "t5", "read", filepath.Join(readOnly, "image")); got != "content" {
		t.Errorf("got %q from the path granted for reading", got)
	}
	if _, err := do(bounded(t), instance, "t6", "write", filepath.Join(readOnly, "x")); err == nil {
		t.Error("a path granted for reading could be written to")
	}
	pid = instance.PID()
	below := filepath.Join(second, "below")
	if err := os.Mkdir(below, 0o770); err != nil {
		t.Fatal(err)
	}
	more = append(more[:1], host.Grant{Path: below, ReadWrite: true})
	if err := h.EnsureGrants(bounded(t), instance.Name(), more); err != nil || instance.PID() != pid {
		t.Errorf("granting what is granted: %v, and the process was replaced: %v", err, instance.PID() != pid)
	}
	if len(instance.LastErrors()) != 0 {
		t.Errorf("the replacements count as failures: %v", instance.LastErrors())
	}
	wantOwner(t, second, 62000, 0o770|os.ModeSetgid)
	wantOwner(t, filepath.Join(first, "a"), 62000, 0o660)
}

func wantOwner(t *testing.T, path string, gid uint32, mode os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat, _ := info.Sys().(*syscall.Stat_t)
	if stat.Gid != gid || info.Mode()&^os.ModeDir != mode {
		t.Errorf("%s belongs to group %d with mode %v, want %d and %v", path, stat.Gid, info.Mode(), gid, mode)
	}
}

func TestGrantsSurviveAServerRestart(t *testing.T) {
	dir, pool := stateDir(t), poolDir(t)
	first := openRaw(t, quick(dir))
	m := manifest(t, "test/one")
	instance := started(t, first, m, host.Setup{})
	if err := first.EnsureGrants(bounded(t), instance.Name(), []host.Grant{{Path: pool, ReadWrite: true}}); err != nil {
		t.Fatal(err)
	}
	pid := instance.PID()
	first.Close()
	second := open(t, quick(dir))
	again := started(t, second, m, host.Setup{})
	if err := second.EnsureGrants(bounded(t), again.Name(), []host.Grant{{Path: pool, ReadWrite: true}}); err != nil {
		t.Fatal(err)
	}
	if again.PID() != pid {
		t.Error("the process with the grant was replaced")
	}
	must(t, again, "t1", "write", filepath.Join(pool, "a"))
}

// TestGrantsDoNotWaitForADriverThatFails asks for a path while the process fails again and again: the caller is told at
// once, and the process that works at last has the path.
func TestGrantsDoNotWaitForADriverThatFails(t *testing.T) {
	config := quick(stateDir(t))
	config.Backoff.CrashLoopEvery = time.Second
	h := open(t, config)
	pool, flag := poolDir(t), filepath.Join(poolDir(t), "flag")
	m := manifest(t, "test/one", "crash-unless="+flag)
	m.DataGroup = true
	m.Permissions.Read = []string{filepath.Dir(flag)}
	instance, err := h.Start(bounded(t), m, host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateCrashLoop); err != nil {
		t.Fatal(err)
	}
	grants := []host.Grant{{Path: pool, ReadWrite: true}}
	wantFault(t, h.EnsureGrants(bounded(t), instance.Name(), grants), driverpb.Class_CLASS_TRANSIENT, "driver-unavailable")
	if _, err := h.Start(bounded(t), m, host.Setup{Grants: grants}); err != nil {
		t.Errorf("bringing the setup up to date waits for the process: %v", err)
	}
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	must(t, instance, "t1", "write", filepath.Join(pool, "a"))
}

// TestMissingPathHarmsNoOther starts a driver when one of its two pools is not mounted.
func TestMissingPathHarmsNoOther(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.DataGroup = true
	there, missing := poolDir(t), filepath.Join(poolDir(t), "missing")
	all := []host.Grant{{Path: there, ReadWrite: true}, {Path: missing, ReadWrite: true}}
	instance := started(t, h, m, host.Setup{Grants: all})
	must(t, instance, "t1", "write", filepath.Join(there, "a"))
	err := h.EnsureGrants(bounded(t), instance.Name(), all)
	wantFault(t, err, driverpb.Class_CLASS_NOT_FOUND, "path-missing")
	if err := os.Mkdir(missing, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.EnsureGrants(bounded(t), instance.Name(), all); err != nil {
		t.Fatal(err)
	}
	must(t, instance, "t2", "write", filepath.Join(missing, "a"))
}

// TestReplacedDirectoryIsReachedAgain replaces a granted directory by another one, as a mount does.
func TestReplacedDirectoryIsReachedAgain(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.DataGroup = true
	pool := poolDir(t)
	grants := []host.Grant{{Path: pool, ReadWrite: true}}
	instance := started(t, h, m, host.Setup{Grants: grants})
	must(t, instance, "t1", "write", filepath.Join(pool, "a"))
	if err := os.Rename(pool, pool+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(pool, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.EnsureGrants(bounded(t), instance.Name(), grants); err != nil {
		t.Fatal(err)
	}
	must(t, instance, "t2", "write", filepath.Join(pool, "b"))
	pid := instance.PID()
	if err := h.EnsureGrants(bounded(t), instance.Name(), grants); err != nil || instance.PID() != pid {
		t.Errorf("asking again: %v, and the process was replaced: %v", err, instance.PID() != pid)
	}
}

func TestRefusedGrants(t *testing.T) {
	dir := stateDir(t)
	server := poolDir(t)
	config := quick(dir)
	config.Protected = []string{server}
	h := open(t, config)
	m := manifest(t, "test/one")
	m.DataGroup = true
	instance := started(t, h, m, host.Setup{})

	full := poolDir(t)
	if err := os.WriteFile(filepath.Join(full, "of-somebody"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(filepath.Dir(full), "link")
	if err := os.Symlink("/etc", link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(full), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(poolDir(t), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "pool"), 0o700); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		path  string
		class driverpb.Class
		code  string
	}{
		"root":             {"/", driverpb.Class_CLASS_INVALID, "path-forbidden"},
		"system":           {"/etc/cron.d", driverpb.Class_CLASS_INVALID, "path-forbidden"},
		"devices":          {"/dev", driverpb.Class_CLASS_INVALID, "path-forbidden"},
		"whole of var":     {"/var/lib", driverpb.Class_CLASS_INVALID, "path-forbidden"},
		"system by link":   {link, driverpb.Class_CLASS_INVALID, "path-forbidden"},
		"server's state":   {server, driverpb.Class_CLASS_INVALID, "path-forbidden"},
		"above the state":  {filepath.Dir(dir), driverpb.Class_CLASS_INVALID, "path-forbidden"},
		"in the state":     {filepath.Join(dir, "drivers"), driverpb.Class_CLASS_INVALID, "path-forbidden"},
		"relative":         {"pool", driverpb.Class_CLASS_INVALID, "path-invalid"},
		"missing":          {filepath.Join(full, "missing"), driverpb.Class_CLASS_NOT_FOUND, "path-missing"},
		"of somebody else": {full, driverpb.Class_CLASS_CONFLICT, "path-in-use"},
		"no directory":     {file, driverpb.Class_CLASS_INVALID, "path-not-a-directory"},
		"closed above":     {filepath.Join(closed, "pool"), driverpb.Class_CLASS_DENIED, "path-unreachable"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := h.EnsureGrants(bounded(t), instance.Name(), []host.Grant{{Path: c.path, ReadWrite: true}})
			if fault := wantFault(t, err, c.class, c.code); fault.GetRemedy() == "" && c.code == "path-in-use" {
				t.Error("the fault has no remedy")
			}
		})
	}
	wantOwner(t, full, 0, 0o755)
	must(t, instance, "t1", "echo")
}

// TestDeclaredCapabilitiesWork has a driver do what a network driver does: make a network namespace that the host
// sees.
func TestDeclaredCapabilitiesWork(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/networks")
	runtime := filepath.Join(filepath.Dir(poolDir(t)), "run")
	m.Permissions.Write = []string{runtime}
	m.Permissions.Capabilities = []string{"sys_admin", "net_admin"}
	instance := started(t, h, m, host.Setup{})
	path := filepath.Join(runtime, "net-1")
	t.Cleanup(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
	must(t, instance, "t1", "make-namespace", path)
	var stat syscall.Statfs_t
	const nsfs = 0x6e736673
	if err := syscall.Statfs(path, &stat); err != nil || stat.Type != nsfs {
		t.Errorf("the host sees %x, %v; want a network namespace", stat.Type, err)
	}
	if _, err := do(bounded(t), instance, "t2", "read", "/etc/shadow"); err == nil {
		t.Error("a driver without file rules could read what its user may not")
	}
}
