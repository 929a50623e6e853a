package host_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const socat = "/usr/bin/socat"

// launchedEcho is an instance with a unit that serves the socket "serial" in its work directory and says everything
// twice.
func launchedEcho(t *testing.T, h *host.Host) (instance *host.Instance, dir string) {
	t.Helper()
	if _, err := os.Stat(socat); err != nil {
		t.Fatalf("this test needs socat, install it: %v", err)
	}
	m := launcherManifest(t)
	m.Permissions.Launch = []host.Program{{Path: socat}}
	m.Permissions.UnixSockets = true
	instance = started(t, h, m, host.Setup{})
	dir = filepath.Join(must(t, instance, "t0", "work-dir"), "m-1")
	must(t, instance, "t1", "launch", launchText(t, &driverpb.Launch{
		Unit: "guest-1", WorkDir: dir, Argv: []string{socat, "UNIX-LISTEN:serial,fork", "PIPE"},
	}))
	until(t, "the unit listens", func() bool {
		_, err := os.Stat(filepath.Join(dir, "serial"))
		return err == nil
	})
	return instance, dir
}

func wantEcho(t *testing.T, h *host.Host, instance *host.Instance, path string) {
	t.Helper()
	var conn net.Conn
	until(t, "the socket is served", func() (ok bool) {
		var err error
		conn, err = h.Dial(bounded(t), instance.Name(), path)
		return err == nil
	})
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(conn).ReadString('\n'); err != nil || said != "hello\n" {
		t.Errorf("got %q, %v; want an echo", said, err)
	}
}

func TestSocketsOfUnitsAndOfTheDriverAreReached(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance, dir := launchedEcho(t, h)
	wantEcho(t, h, instance, filepath.Join(dir, "serial"))
	own := must(t, instance, "t2", "serve")
	wantEcho(t, h, instance, own)
}

// bystander is a socket of somebody else, which counts what is said to it.
func bystander(t *testing.T) (path string, heard *atomic.Int64) {
	t.Helper()
	path, heard = filepath.Join(t.TempDir(), "bystander"), &atomic.Int64{}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n, _ := conn.Read(make([]byte, 1))
			heard.Add(int64(n))
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return path, heard
}

func TestNoUnitLeadsTheServerToASocketOfAnother(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance, dir := launchedEcho(t, h)
	victim, heard := bystander(t)
	place := func(name string, put func(path string) error) {
		t.Helper()
		if err := put(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	place("link", func(path string) error { return os.Symlink(victim, path) })
	place("dir", func(path string) error { return os.Symlink(filepath.Dir(victim), path) })
	place("hard", func(path string) error { return os.Link(victim, path) })
	place("moved", func(path string) error { return os.Symlink("serial", path) })
	place("file", func(path string) error { return os.WriteFile(path, nil, 0o666) })
	for name, path := range map[string]string{
		"link": dir + "/link", "directory": dir + "/dir/bystander", "hard link": dir + "/hard",
		"own, by link": dir + "/moved",
		"file":         dir + "/file", "elsewhere": victim, "above": dir + "/../../x/" + victim, "relative": "m-1/serial",
		"nothing": "", "the directory": dir,
	} {
		conn, err := h.Dial(bounded(t), instance.Name(), path)
		if err == nil {
			fmt.Fprintln(conn, "delete everything")
			conn.Close()
		}
		if fault := sdk.FaultOf(err); fault.GetCode() != "socket-foreign" {
			t.Errorf("%s: got %v, want fault socket-foreign", name, err)
		}
	}
	if heard.Load() != 0 {
		t.Error("the bystander was spoken to")
	}
	_, err := h.Dial(bounded(t), instance.Name(), dir+"/missing")
	wantFault(t, err, driverpb.Class_CLASS_NOT_FOUND, "socket-missing")
}

func TestAnEndedUnitsSocketIsNobodys(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance, dir := launchedEcho(t, h)
	must(t, instance, "t2", "terminate", "guest-1", "0s")
	// What outlives the unit in its directory, here a socket of the test's, is not taken for it.
	path := filepath.Join(dir, "serial")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, err = h.Dial(bounded(t), instance.Name(), path)
	wantFault(t, err, driverpb.Class_CLASS_DENIED, "socket-foreign")
}

func TestAServerRestartKeepsTheSocketsOfUnits(t *testing.T) {
	state := stateDir(t)
	h := openRaw(t, quick(state))
	instance, dir := launchedEcho(t, h)
	h.Close()
	again := open(t, quick(state))
	instance = started(t, again, instance.Manifest(), host.Setup{})
	wantEcho(t, again, instance, filepath.Join(dir, "serial"))
}
