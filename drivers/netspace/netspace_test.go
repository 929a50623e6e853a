package netspace_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
)

// TestMain runs the tests in namespaces of their own, which take with them what a test leaves.
func TestMain(m *testing.M) {
	enclosure.RunFirstIfAsked()
	if enclosure.Inside() {
		goleak.VerifyTestMain(m)
	}
	code, err := enclosure.Again(enclosure.OwnNetwork)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// directory returns a directory of namespaces that is gone after the test.
func directory(t *testing.T) (*netspace.Directory, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spaces")
	spaces := netspace.OpenDirectory(path)
	t.Cleanup(func() {
		names, err := spaces.List()
		if err != nil {
			t.Error(err)
		}
		for _, name := range names {
			if err := spaces.Remove(name); err != nil {
				t.Error(err)
			}
		}
		_ = unix.Unmount(path, unix.MNT_DETACH)
	})
	return spaces, path
}

func open(t *testing.T, spaces *netspace.Directory, name string) *netspace.Space {
	t.Helper()
	if err := spaces.Ensure(name); err != nil {
		t.Fatal(err)
	}
	space, err := spaces.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(space.Close)
	return space
}

// whichSpace tells in which namespace the calling thread is.
func whichSpace() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

func in(t *testing.T, space *netspace.Space) string {
	t.Helper()
	var which string
	err := space.Do(func() (err error) {
		which, err = whichSpace()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return which
}

func TestANamespaceIsMadeOnceAndRemovedForGood(t *testing.T) {
	spaces, _ := directory(t)
	if _, err := spaces.Open("one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening what is not there: %v", err)
	}
	first := in(t, open(t, spaces, "one"))
	if again := in(t, open(t, spaces, "one")); again != first {
		t.Errorf("ensured twice it is %s and %s", first, again)
	}
	names, err := spaces.List()
	if err != nil || !slices.Equal(names, []string{"one"}) {
		t.Errorf("listed %v, %v", names, err)
	}
	for range 2 {
		if err := spaces.Remove("one"); err != nil {
			t.Errorf("removing: %v", err)
		}
	}
	if _, err := os.Stat(spaces.Path("one")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

func TestWhatWasHalfMadeIsNoNamespaceAndIsCompleted(t *testing.T) {
	spaces, path := directory(t)
	open(t, spaces, "other")
	if err := os.WriteFile(filepath.Join(path, "one"), nil, 0o444); err != nil { // killed before the mount
		t.Fatal(err)
	}
	if _, err := spaces.Open("one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a mere mount point: %v", err)
	}
	own, err := whichSpace()
	if err != nil {
		t.Fatal(err)
	}
	if got := in(t, open(t, spaces, "one")); got == own {
		t.Error("it is the namespace of the process")
	}
	if err := spaces.Remove("one"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "one"), nil, 0o444); err != nil { // killed after the unmount
		t.Fatal(err)
	}
	if err := spaces.Remove("one"); err != nil {
		t.Errorf("removing a mere mount point: %v", err)
	}
}

// TestNamespacesCanBeRemovedAfterOthersPreparedTheDirectory is what ip-netns(8) does before its first namespace: it
// mounts the directory over itself unless it is shared already.
func TestNamespacesCanBeRemovedAfterOthersPreparedTheDirectory(t *testing.T) {
	spaces, path := directory(t)
	open(t, spaces, "one")
	if err := unix.Mount("", path, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		t.Errorf("the directory is not prepared: %v", err)
		if err := unix.Mount(path, path, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := spaces.Remove("one"); err != nil {
		t.Error(err)
	}
}

func TestWorkStaysInItsNamespaceAndNobodyElseGetsThere(t *testing.T) {
	spaces, _ := directory(t)
	own, err := whichSpace()
	if err != nil {
		t.Fatal(err)
	}
	current, err := netspace.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer current.Close()
	places := map[*netspace.Space]string{current: own}
	for _, name := range []string{"one", "two", "three"} {
		space := open(t, spaces, name)
		places[space] = in(t, space)
	}
	before := threads(t)
	var workers sync.WaitGroup
	for space, want := range places {
		for range 20 {
			workers.Go(func() {
				for range 10 {
					var got string
					err := space.Do(func() (err error) {
						got, err = whichSpace()
						return err
					})
					if here, hereErr := whichSpace(); err != nil || got != want || hereErr != nil || here != own {
						t.Errorf("work was in %s, want %s; outside it is %s, want %s; %v, %v", got, want, here, own, err, hereErr)
					}
				}
			})
		}
	}
	workers.Wait()
	if process, err := os.Readlink("/proc/self/ns/net"); err != nil || process != own {
		t.Errorf("the process is in %s, was in %s (%v)", process, own, err)
	}
	if after := threads(t); after > before+40 {
		t.Errorf("there were %d threads, now %d: they do not end", before, after)
	}
}

func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

func TestErrorsAndPanicsComeBack(t *testing.T) {
	spaces, _ := directory(t)
	space := open(t, spaces, "one")
	if err := space.Do(func() error { return os.ErrDeadlineExceeded }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	err := space.Do(func() error { panic("on purpose") })
	if err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("got %v", err)
	}
	space.Close()
	if err := space.Do(func() error { return nil }); err == nil {
		t.Error("a closed namespace can be entered")
	}
}

// TestVacant: an interface that is up keeps a namespace, and so does a process; what is down does not.
func TestVacant(t *testing.T) {
	spaces, _ := directory(t)
	one := open(t, spaces, "one")
	is := func(vacant bool) {
		t.Helper()
		if got, err := one.Vacant(); err != nil || got != vacant {
			t.Errorf("vacant is %t (%v), want %t", got, err, vacant)
		}
		if err := spaces.RemoveVacant(t.Context(), "one"); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(spaces.Path("one")); (err == nil) == vacant {
			t.Errorf("vacant is %t, and its name: %v", vacant, err)
		}
	}
	for _, command := range []string{"ip link add keeps type bridge", "ip link set keeps up", "ip link set lo up"} {
		if _, err := one.Run(t.Context(), "", strings.Fields(command)...); err != nil {
			t.Fatal(err)
		}
	}
	is(false)
	if _, err := one.Run(t.Context(), "", "ip", "link", "set", "keeps", "down"); err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	err := one.Do(func() (err error) {
		listener, err = net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	is(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	is(true)
	is(true)
}

func TestLinksSettingsAndProgramsAreTheNamespaces(t *testing.T) {
	spaces, _ := directory(t)
	one, two := open(t, spaces, "one"), open(t, spaces, "two")
	if _, err := one.Run(t.Context(), "", "ip", "link", "add", "only-one", "type", "bridge"); err != nil {
		t.Fatal(err)
	}
	for space, want := range map[*netspace.Space]bool{one: true, two: false} {
		output, err := space.Run(t.Context(), "", "cat", "/proc/thread-self/net/dev")
		if err != nil || strings.Contains(string(output), "only-one") != want {
			t.Errorf("the interfaces are %s (%v)", output, err)
		}
	}
	if err := two.SetSysctl("ipv4/ip_forward", "0"); err != nil { // a new namespace has what the host has
		t.Fatal(err)
	}
	if err := one.SetSysctls([]netspace.Setting{
		{Key: "ipv4/ip_forward", Value: "1"}, {Key: "no/such/thing", Value: "1"},
	}); err != nil {
		t.Error(err)
	}
	for space, want := range map[*netspace.Space]string{one: "1", two: "0"} {
		if got, err := space.Sysctl("ipv4/ip_forward"); err != nil || got != want {
			t.Errorf("forwarding is %q (%v), want %q", got, err, want)
		}
	}
	if err := one.SetSysctl("no/such/thing", "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("setting what is not there: %v", err)
	}
	if output, err := one.Run(t.Context(), "words", "cat"); err != nil || string(output) != "words" {
		t.Errorf("got %q, %v", output, err)
	}
	if _, err := one.Run(t.Context(), "", "sh", "-c", "echo why >&2; exit 3"); err == nil ||
		!strings.Contains(err.Error(), "why") {
		t.Errorf("a failed program says %v", err)
	}
}

func TestOneAtATimeHoldsTheLock(t *testing.T) {
	spaces, path := directory(t)
	unlock, err := spaces.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := netspace.OpenDirectory(path).Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second holder: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := netspace.OpenDirectory(path).Lock(t.Context())
		if err == nil {
			second()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Errorf("after the unlock: %v", err)
	}
}
