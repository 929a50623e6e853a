package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// program is the path of the program, built for these tests.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bulkhead")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	return path
}

type result struct {
	out, err string
	code     int
}

func run(t *testing.T, path string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatalf("%v: %v", args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func TestTheProgram(t *testing.T) {
	path := program(t)
	t.Run("wrong use", func(t *testing.T) { wrongUse(t, path) })
	t.Run("an agent that did not join", func(t *testing.T) {
		r := run(t, path, "agent", "--data-dir", t.TempDir())
		if r.code != 4 || !strings.Contains(r.err, "is not the data directory of an agent") {
			t.Errorf("exit %d: %s", r.code, r.err)
		}
	})
	t.Run("testing drivers", func(t *testing.T) { testingDrivers(t, path) })
	t.Run("scripting", func(t *testing.T) { scripting(t, path) })
	t.Run("restoring", func(t *testing.T) { restoring(t, path) })
	t.Run("vendors", func(t *testing.T) { vendors(t, path) })
	t.Run("a server beyond this machine", func(t *testing.T) { serving(t, path) })
	t.Run("a server that can't stop", func(t *testing.T) { hanging(t, path) })
}

func wrongUse(t *testing.T, path string) {
	for want, args := range map[string][]string{
		`--listen: must be address:port`:            {"server", "--listen", "foo"},
		`not "127.0.0.1:http"`:                      {"server", "--listen", "127.0.0.1:http"},
		`--log-level: must be debug, info`:          {"server", "--log-level", "loud"},
		`--log-format: must be text or json`:        {"server", "--log-format", "xml"},
		`--minimum-isolation: must be none, basic`:  {"dev", "--minimum-isolation", "total"},
		`'bulkhead server' takes no arguments`:      {"server", "now"},
		`192.0.2.1:7480 is no address of this mach`: {"server", "--listen", "192.0.2.1:7480", "--data-dir", t.TempDir()},
		`'bulkhead backup restore' needs FILE`:      {"backup", "restore"},
		`is no data directory of a server`:          {"driver", "stop-all", "--data-dir", t.TempDir()},
		`'bulkhead driver test' needs DRIVER`:       {"driver", "test"},
		`nor a driver that ships`:                   {"driver", "test", "/nowhere.car"},
		`--profile: must be storage, image`:         {"driver", "test", "bulkhead/sim", "--profile", "printing"},
		`--profile: the driver's manifest does not`: {"driver", "test", "bulkhead/filestorage", "--profile", "image"},
		`--set: must be field=value`:                {"driver", "test", "bulkhead/sim", "--set", "x"},
		`unknown field "stora"`:                     {"driver", "test", "bulkhead/sim", "--set", "stora.pool.x=1"},
		`--run: `:                                   {"driver", "test", "bulkhead/sim", "--run", "("},
		`--token: no join token given`:              {"host", "join"},
		`--token: `:                                 {"host", "join", "--token", "x"},
		`--from: which node is to be asked?`:        {"host", "join", "--token", hostToken(t)},
		`--listen: where do nodes reach the agent?`: {"host", "join", "--token", hostToken(t), "--from", "192.0.2.1:7481"},
		`--name: name of the host is "A_B"`: {
			"host", "join", "--token", hostToken(t), "--from", "192.0.2.1:7481", "--listen", "127.0.0.1:7481", "--name", "A_B",
		},
		`'bulkhead agent' takes no arguments`: {"agent", "now"},
		`--metrics-listen: must be address:port, such as 127.0.0.1:7482, not "here"`: {
			"agent", "--metrics-listen", "here",
		},
	} {
		if r := run(t, path, args...); r.code != 2 || !strings.Contains(r.err, want) {
			t.Errorf("%v: exit %d: %s", args, r.code, r.err)
		}
	}
}

// hostToken lets an agent into a cluster that there is not.
func hostToken(t *testing.T) string {
	t.Helper()
	token, err := pki.NewJoinToken("id", pki.RoleHost, "sha256:"+strings.Repeat("0", 64))
	if err != nil {
		t.Fatal(err)
	}
	return token.Text()
}

// A file that is no backup may be any file: nothing of it is shown, and nothing is made.
func restoring(t *testing.T, path string) {
	secret := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(secret, []byte("root:$6$secret:19000:0:99999:7:::\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{secret, t.TempDir(), filepath.Join(t.TempDir(), "nothing")} {
		dir := filepath.Join(t.TempDir(), "restored")
		r := run(t, path, "backup", "restore", file, "--data-dir", dir)
		if r.code == 0 || strings.Contains(r.out+r.err, "root:") || !strings.Contains(r.err, "To do: ") {
			t.Errorf("%s: exit %d: %s%s", file, r.code, r.out, r.err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: %s was left behind", file, dir)
		}
	}
}

var processID = regexp.MustCompile(`"pid":\s*(\d+)`)

// driverProcesses are the processes of drivers that the records of a data directory name and that run.
func driverProcesses(t *testing.T, dataDir string) []int {
	t.Helper()
	records, err := filepath.Glob(filepath.Join(dataDir, "host", "drivers", "*", "*", "process.json"))
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, path := range records {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		if m := processID.FindSubmatch(text); m != nil {
			pid, _ := strconv.Atoi(string(m[1]))
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil &&
				bytes.Contains(line, []byte("driver-process")) {
				found = append(found, pid)
			}
		}
	}
	return found
}

// untilDriversRun waits until that many drivers run.
func untilDriversRun(t *testing.T, dataDir string, want int) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for len(driverProcesses(t, dataDir)) < want {
		if time.Now().After(end) {
			t.Fatalf("%d drivers run after a minute, want %d", len(driverProcesses(t, dataDir)), want)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

// reachable makes a directory that drivers reach: they have users of their own, whom a t.TempDir keeps out.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bulkhead-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func serving(t *testing.T, path string) {
	dir := reachable(t)
	data := filepath.Join(dir, "data")
	server, said, ended := startServer(t, path, data, "0.0.0.0:0")
	for _, part := range []string{"WARNING", "served unencrypted", "remedy="} {
		if !strings.Contains(said, part) {
			t.Errorf("it does not warn (%s):\n%s", part, said)
		}
	}
	r := run(t, path, "driver", "stop-all", "--data-dir", data)
	if r.code != 4 || !strings.Contains(r.err, "stop it first") {
		t.Errorf("ending the drivers of a server that runs: exit %d: %s", r.code, r.err)
	}
	if r := run(t, path, "server", "--data-dir", data, "--listen", "127.0.0.1:0"); r.code != 4 ||
		!strings.Contains(r.err, "another server uses") {
		t.Errorf("a second server: exit %d: %s", r.code, r.err)
	}
	untilDriversRun(t, data, len(node.BuiltIns()))
	logIn(t, said, data)
	restored := filepath.Join(dir, "restored")
	backingUp(t, path, restored)
	if err := server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-ended
	if len(driverProcesses(t, data)) == 0 {
		t.Error("no driver runs on after its server")
	}
	if r := run(t, path, "driver", "stop-all", "--data-dir", data); r.code != 0 {
		t.Errorf("ending the drivers: exit %d: %s", r.code, r.err)
	}
	if left := driverProcesses(t, data); len(left) > 0 {
		t.Errorf("processes %v run on", left)
	}
	_, said, _ = startServer(t, path, restored, "127.0.0.1:0")
	untilDriversRun(t, restored, len(node.BuiltIns()))            // what is started later is not found afterwards
	t.Setenv("BULKHEAD_URL", address.FindStringSubmatch(said)[1]) // the token is that of the zone backed up
	if r := run(t, path, "cluster", "show", canary); r.code != 0 {
		t.Errorf("the restored zone: exit %d: %s", r.code, r.err)
	}
}

// hanging takes away a server's files, so that it can't close them, and interrupts it twice.
func hanging(t *testing.T, path string) {
	data := filepath.Join(reachable(t), "data")
	server, _, ended := startServer(t, path, data, "127.0.0.1:0")
	if err := os.Rename(filepath.Join(data, "state"), filepath.Join(data, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	waitFor(t, server.Stderr.(*os.File).Name(), "error flushing memtable", ended)
	if err := server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("a server that was interrupted twice runs on")
	}
}

// startServer starts a server that is ended, with its drivers, after the test. It returns what it said when it served.
func startServer(
	t *testing.T, path, data, listen string, flags ...string,
) (server *exec.Cmd, said string, ended <-chan struct{}) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	server = exec.Command(path, append([]string{"server", "--data-dir", data, "--listen", listen}, flags...)...)
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = server.Wait() // how it ends is told by what it did
		close(done)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-done
		_ = exec.Command(path, "driver", "stop-all", "--data-dir", data).Run() // also after a failure
		_ = log.Close()
	})
	return server, waitFor(t, log.Name(), "Next: export BULKHEAD_URL=http://127.0.0.1:", done), done
}

var address = regexp.MustCompile(`BULKHEAD_URL=(\S+)`)

// logIn makes the command line speak to a server as its first administrator.
func logIn(t *testing.T, said, data string) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(data, "token"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("BULKHEAD_URL", address.FindStringSubmatch(said)[1])
	t.Setenv("BULKHEAD_TOKEN", strings.TrimSpace(string(token)))
}

// waitFor waits until a file has a text, and returns what it has then.
func waitFor(t *testing.T, path, text string, ended <-chan struct{}) string {
	t.Helper()
	end := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		said, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(said), text) {
			return string(said)
		}
		select {
		case <-tick.C:
		case <-ended:
			said, _ = os.ReadFile(path)
			t.Fatalf("the server ended:\n%s", said)
		case <-end:
			t.Fatalf("%q did not come:\n%s", text, said)
		}
	}
}
