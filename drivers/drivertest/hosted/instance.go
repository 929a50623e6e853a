package hosted

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// lastWords is how much of the log is shown of a driver that does not start.
const lastWords = 2000

// logBytes is how much of a driver's log is looked at.
const logBytes = 1 << 20

// instance is a driver on a site. The host starts it again whenever it ends.
type instance struct {
	site     *site
	manifest host.Manifest
	current  *host.Instance
}

func (i *instance) name() string { return host.InstanceName(i.manifest.Name, i.manifest.Version) }

func (i *instance) begin(t drivertest.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	started, err := i.site.host.Start(ctx, i.manifest, i.site.lab.setup())
	if err != nil {
		t.Fatal(err)
		return
	}
	i.current = started
	i.awaitRunning(t)
}

func (i *instance) awaitRunning(t drivertest.T) {
	t.Helper()
	limit := patience
	if i.manifest.Timeouts.Start > 0 {
		limit = 2 * i.manifest.Timeouts.Start
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := i.current.Await(ctx, host.StateRunning); err != nil {
		said := i.Said(t)
		for _, advice := range i.Advice(said) {
			t.Log(advice)
		}
		t.Fatalf("the driver does not run: %v; it said last:\n%s", err, said[max(len(said)-lastWords, 0):])
	}
	i.site.lab.mutex.Lock()
	defer i.site.lab.mutex.Unlock()
	i.site.lab.report = i.current.Report()
}

// Conn implements drivertest.Instance.
func (i *instance) Conn() grpc.ClientConnInterface { return i.current.Conn() }

// Kill implements drivertest.Instance. The host starts another process at once.
func (i *instance) Kill(t drivertest.T) {
	t.Helper()
	pid := i.current.PID()
	if pid == 0 {
		return
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("killing the driver: %v", err)
	}
	for began := time.Now(); i.current.PID() == pid; {
		// Whatever comes next, it is another process, or none. What comes may be over before anybody looks.
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		err := i.current.Await(ctx, host.StateStarting, host.StateBackingOff, host.StateCrashLoop)
		cancel()
		if err != nil && time.Since(began) > patience {
			t.Fatalf("the driver was killed and runs on: %v", err)
		}
	}
}

// Restart implements drivertest.Instance.
func (i *instance) Restart(t drivertest.T) {
	t.Helper()
	i.awaitRunning(t)
}

// Cut implements drivertest.Instance: the host goes away and comes back, as with the death of a server, and finds the
// drivers that ran on.
func (i *instance) Cut(t drivertest.T) {
	t.Helper()
	i.site.host.Close()
	i.site.host = nil
	i.site.reopen(t)
	for _, each := range i.site.instances {
		each.begin(t)
	}
}

// Grant implements drivertest.Granting.
func (i *instance) Grant(_ drivertest.T, path string, write bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return i.site.host.EnsureGrants(ctx, i.name(), []host.Grant{{Path: path, ReadWrite: write}})
}

// Said implements drivertest.Watched.
func (i *instance) Said(t drivertest.T) string {
	t.Helper()
	tail, err := i.current.LogTail(logBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading the driver's log: %v", err)
	}
	return string(tail)
}

// Remains implements drivertest.Watched.
func (i *instance) Remains(t drivertest.T) []string {
	t.Helper()
	file := strings.ReplaceAll(i.manifest.Name, "/", ".")
	all := listed(t, "work", filepath.Join(i.site.config.StateDir, "drivers", file, "work"))
	return append(append(all, i.units(t)...), i.processes(t)...)
}

// units are the data-path processes that run.
func (i *instance) units(t drivertest.T) []string {
	t.Helper()
	var all []string
	for _, unit := range i.site.host.Units(i.manifest.Name) {
		all = append(all, "unit/"+unit)
	}
	return all
}

// listed names files and directories below one.
func listed(t drivertest.T, as, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile, or never made
		}
		if name, relative := filepath.Rel(dir, path); err == nil && relative == nil && name != "." {
			all = append(all, as+"/"+name)
		}
		return err
	})
	if err != nil {
		t.Errorf("listing what is left: %v", err)
	}
	return all
}

// processes are those that the driver made beside itself: they are in its own namespace of processes. Where it has
// none, nothing tells them from others.
func (i *instance) processes(t drivertest.T) []string {
	t.Helper()
	pid := i.current.PID()
	own, err := os.Readlink(namespaceOf(pid))
	ours, _ := os.Readlink("/proc/self/ns/pid")
	if err != nil || own == ours {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Errorf("listing processes: %v", err)
	}
	var all []string
	for _, entry := range entries {
		number, err := strconv.Atoi(entry.Name())
		if err != nil || number == pid {
			continue
		}
		if where, err := os.Readlink(namespaceOf(number)); err == nil && where == own {
			command, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
			all = append(all, fmt.Sprintf("process/%s", strings.TrimSpace(string(command))))
		}
	}
	return all
}

func namespaceOf(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "ns/pid") }
