package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
	"github.com/bulkhead-cloud/bulkhead/internal/agent"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// programs are what the test program can be run as, besides itself.
func programs() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"server-program": serverProgram, "agent-program": agentProgram, "machine-program": machineProgram,
		"fetch-program": fetchProgram,
	}
}

func logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }

// serverProgram is a server: its data directory, where it serves its API, how long an agent may be silent.
func serverProgram(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	grace, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	n, err := node.Start(ctx, node.Config{
		DataDir: args[0], Listen: args[1], Version: "test", Log: logger(), AgentGrace: grace,
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return errors.Join(n.StopDrivers(context.Background()), n.Close(context.Background()))
}

// agentProgram is the agent of a data directory.
func agentProgram(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a, err := agent.Start(ctx, agent.Config{
		DataDir: args[0], Version: "test", BuiltIns: node.BuiltIns(), Epochs: node.AgentEpochs(), Log: logger(),
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return errors.Join(a.StopDrivers(context.Background()), a.Close())
}

// fetchProgram prints what is served at a URL, as soon as it is.
func fetchProgram(args []string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	for deadline := time.Now().Add(4 * time.Minute); ; {
		page, err := get(client, args[0])
		if err == nil {
			_, err = os.Stdout.Write(page)
			return err
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond) // between two attempts
	}
}

func get(client *http.Client, url string) ([]byte, error) {
	answer, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

// machineProgram is all that runs in a machine of its own at first.
func machineProgram([]string) error {
	fmt.Println("up")
	select {}
}

func sh(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// metal is a machine of its own, with an agent.
type metal struct {
	t                  *testing.T
	name, address, dir string
	inside             string    // the range of its network
	first, agent       *exec.Cmd // of the machine, and what runs the agent
}

// boot starts the machine, on the bridge of all.
func (m *metal) boot() {
	m.t.Helper()
	var err error
	m.first, err = enclosure.Command(context.Background(), enclosure.OwnNetwork, "machine-program")
	if err != nil {
		m.t.Fatal(err)
	}
	m.first.SysProcAttr.Pdeathsig = 0 // this is no thread to die with; all ends with the enclosure that this is in
	m.first.Stderr = os.Stderr
	said, err := m.first.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.first.Start(); err != nil {
		m.t.Fatal(err)
	}
	if _, err := io.ReadFull(said, make([]byte, 3)); err != nil {
		m.t.Fatalf("machine %s does not come up: %v", m.name, err)
	}
	namespace := fmt.Sprint(m.first.Process.Pid)
	sh(m.t, "ip", "link", "add", "port-"+m.name, "type", "veth",
		"peer", "name", "eth0", "address", "02:00:00:00:00:0"+m.name[len(m.name)-1:], "netns", namespace)
	sh(m.t, "ip", "link", "set", "port-"+m.name, "master", "wire", "up")
	sh(m.t, m.within("ip", "address", "add", m.address+"/24", "dev", "eth0")...)
	sh(m.t, m.within("ip", "link", "set", "eth0", "up")...)
}

// within is a command line that runs another one in the machine.
func (m *metal) within(args ...string) []string {
	return append([]string{"nsenter", "-t", fmt.Sprint(m.first.Process.Pid), "-n", "-m", "-p", "--"}, args...)
}

// powerOff ends all that runs in the machine.
func (m *metal) powerOff() {
	m.t.Helper()
	if err := m.first.Process.Kill(); err != nil {
		m.t.Fatal(err)
	}
	m.gone()
}

// gone waits until all that ran in the machine has ended.
func (m *metal) gone() {
	_ = m.first.Wait()
	_ = m.agent.Wait()
	_ = exec.CommandContext(m.t.Context(), "ip", "link", "del", "port-"+m.name).Run() // the kernel may have done it
}

// startAgent starts the machine's agent.
func (m *metal) startAgent() {
	m.t.Helper()
	line := m.within(os.Args[0], "agent-program", m.dir)
	m.agent = exec.Command(line[0], line[1:]...)
	m.agent.Stderr = os.Stderr
	if err := m.agent.Start(); err != nil {
		m.t.Fatal(err)
	}
}

// end gives the agent itself a signal, and waits for its end.
func (m *metal) end(by syscall.Signal) {
	m.t.Helper()
	pid := m.agent.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		m.t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(string(children), &child); err != nil {
		m.t.Fatalf("the agent of %s does not run: %v", m.name, err)
	}
	if err := syscall.Kill(child, by); err != nil {
		m.t.Fatal(err)
	}
	_ = m.agent.Wait()
}

// fetch gets what is served at a URL that only the machine reaches.
func (m *metal) fetch(url string) string {
	m.t.Helper()
	line := m.within(os.Args[0], "fetch-program", url)
	cmd := exec.CommandContext(m.t.Context(), line[0], line[1:]...)
	cmd.Stderr = os.Stderr
	page, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("the guest does not answer at %s: %v", url, err)
	}
	return string(page)
}

// path is a directory of the machine.
func (m *metal) path(name string) string { return dir(m.t, m.dir, name) }
