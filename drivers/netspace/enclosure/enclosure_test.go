package enclosure_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
)

// TestMain is also what the tests run in enclosures.
func TestMain(m *testing.M) {
	enclosure.RunFirstIfAsked()
	if len(os.Args) == 3 && os.Args[1] == "inmate" {
		os.Exit(inmate(os.Args[2]))
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests make namespaces: run them as root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func inmate(what string) int {
	switch what {
	case "again":
		if !enclosure.Inside() {
			code, err := enclosure.Again(enclosure.OwnNetwork)
			if err != nil {
				fmt.Println(err)
			}
			return code
		}
		return 7
	case "maker":
		c, err := enclosure.Command(context.Background(), enclosure.OwnNetwork, "inmate", "interrupted")
		if err != nil {
			return 1
		}
		c.Stdout = os.Stdout
		return exitCode(enclosure.Run(c))
	case "interrupted":
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, os.Interrupt)
		fmt.Println("waits")
		<-caught
		return 9
	case "space":
		spaces := netspace.OpenDirectory(netspace.DefaultDirectory)
		names, err := spaces.List()
		fmt.Println(names, err, spaces.Ensure("inmates"))
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		fmt.Println(err, listener != nil)
		// An orphan in a session of its own, as a unit is one.
		orphan := exec.Command("setsid", "sleep", "1000")
		fmt.Println(orphan.Start())
		fmt.Println("done")
		select {}
	default:
		return 1
	}
}

func command(t *testing.T, network enclosure.Network, what string) *exec.Cmd {
	t.Helper()
	c, err := enclosure.Command(t.Context(), network, "inmate", what)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

func TestExitCodesComeOut(t *testing.T) {
	if err := enclosure.Run(command(t, enclosure.HostNetwork, "again")); exitCode(err) != 7 {
		t.Errorf("inside: %v", err)
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "inmate", "again")
	if out, err := again.CombinedOutput(); exitCode(err) != 7 {
		t.Errorf("again: %v %s", err, out)
	}
}

func TestAnInterruptGoesIn(t *testing.T) {
	c := command(t, enclosure.OwnNetwork, "interrupted")
	said, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- enclosure.Run(c) }()
	awaitLine(t, bufio.NewReader(said), "waits")
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-result; exitCode(err) != 9 {
		t.Errorf("after an interrupt: %v", err)
	}
}

func awaitLine(t *testing.T, from *bufio.Reader, last string) (all string) {
	t.Helper()
	for {
		line, err := from.ReadString('\n')
		all += line
		if err != nil {
			t.Fatalf("it said %q and then nothing: %v", all, err)
		}
		if strings.TrimSpace(line) == last {
			return all
		}
	}
}

// What a killed process leaves is gone: orphans, and its namespaces were never seen outside.
func TestAKilledOneLeavesNothing(t *testing.T) {
	for name, network := range map[string]enclosure.Network{
		"own": enclosure.OwnNetwork, "host": enclosure.HostNetwork,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, kill := context.WithCancel(t.Context())
			c, err := enclosure.Command(ctx, network, "inmate", "space")
			if err != nil {
				t.Fatal(err)
			}
			said, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			result := make(chan error, 1)
			go func() { result <- enclosure.Run(c) }()
			all := awaitLine(t, bufio.NewReader(said), "done")
			if want := "[] <nil> <nil>\n<nil> true\n<nil>\ndone\n"; all != want {
				t.Errorf("inside it said %q, want %q", all, want)
			}
			if _, err := os.Stat(netspace.DefaultDirectory + "/inmates"); err == nil {
				t.Error("its network namespace is seen outside")
			}
			space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(processesIn(t, space)); n != 3 {
				t.Errorf("%d processes run in it, want the first, the inmate, the orphan", n)
			}
			kill()
			if err := <-result; err == nil {
				t.Error("it was killed and succeeded")
			}
			if left := processesIn(t, space); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
		})
	}
}

// Its maker need not be there to end it.
func TestItDiesWithItsMaker(t *testing.T) {
	maker := exec.CommandContext(t.Context(), os.Args[0], "inmate", "maker")
	said, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(said)
	awaitLine(t, lines, "waits")
	if err := maker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// All that could write to it are gone.
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("it said %q, %v", rest, err)
	}
	if err := maker.Wait(); err == nil {
		t.Error("it was killed and succeeded")
	}
}

func processesIn(t *testing.T, space string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if link, err := os.Readlink(path); err == nil && link == space {
			state, err := os.ReadFile(filepath.Dir(filepath.Dir(path)) + "/stat")
			if err == nil && !bytes.Contains(state, []byte(") Z ")) {
				pids = append(pids, path)
			}
		}
	}
	return pids
}
