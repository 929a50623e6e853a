package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	processes "github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// deathPatience is how long a driver that was killed may take to be gone.
const deathPatience = 5 * time.Second

// Server is a node in a process of its own.
type Server struct {
	// Dir is its data directory, Listen the address of its API.
	Dir, Listen string
	// Name of the node, and where the others of its Group reach it; empty if it is
	// alone.
	Name, Address string
	// Program, if set, is the product's program, which is run instead of this one. It
	// counts from the next Start on.
	Program string
	// bearer is the text of the token that opens its API; empty = the one in Dir.
	bearer string
	place  Place
	// agent says that it is the agent of a host, and no node.
	agent bool

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}
	killed  bool
}

// New prepares a server with a data directory that exists. Its log goes to the
// file server.log in there.
func New(dir string) (*Server, error) {
	listen, err := freePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	return &Server{Dir: dir, Listen: listen}, nil
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, LogName) }

// LogName is the file in the data directory that has the server's log.
const LogName = "server.log"

// enter has work be done where the server's addresses are.
func (s *Server) enter(work func() error) error {
	if s.place.Enter == nil {
		return work()
	}
	return s.place.Enter(work)
}

// command is what starts the server.
func (s *Server) command() (*exec.Cmd, error) {
	if s.agent {
		return s.agentCommand()
	}
	if s.Program != "" {
		arguments := []string{"server", "--data-dir", s.Dir, "--listen", s.Listen}
		if s.place.Verbose {
			arguments = append(arguments, "--log-level", "debug", "--log-format", "json")
		}
		return exec.Command(s.Program, arguments...), nil //nolint:noctx // it lives until Kill
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	command := exec.Command(executable, asServer, s.Dir, s.Listen) //nolint:noctx // it lives until Kill
	if s.place.Verbose {
		command.Env = append(os.Environ(), verboseVariable+"=yes")
	}
	return command, nil
}

// Start starts the process; it does not wait until it serves.
func (s *Server) Start() error {
	cmd, err := s.command()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the server's log: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.enter(cmd.Start); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // it is killed
		close(ended)
	}()
	s.mu.Lock()
	s.process, s.ended, s.killed = cmd, ended, false
	s.mu.Unlock()
	return nil
}

// Terminate asks the process to end and waits until it has, as long as ctx lasts.
// Drivers run on.
func (s *Server) Terminate(ctx context.Context) error {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.killed = true
	s.mu.Unlock()
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("asking the server to end: %w", err)
	}
	return s.awaitEnd(ctx, process, ended)
}

// AwaitEnd waits until the process ends by itself, and returns an error if it ended as
// one that was asked to.
func (s *Server) AwaitEnd(ctx context.Context) error {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.killed = true
	s.mu.Unlock()
	if err := s.awaitEnd(ctx, process, ended); err == nil {
		return errors.New("the server ended as if somebody had asked it to")
	}
	return ctx.Err()
}

func (s *Server) awaitEnd(ctx context.Context, process *exec.Cmd, ended <-chan struct{}) error {
	select {
	case <-ended:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the server to end: %w", ctx.Err())
	}
	if !process.ProcessState.Success() {
		return fmt.Errorf("the server ended with %s; see %s", process.ProcessState, s.logPath())
	}
	return nil
}

// Log returns what the server has logged from a place on.
func (s *Server) Log(from int64) (string, error) {
	data, err := os.ReadFile(s.logPath())
	if err != nil {
		return "", fmt.Errorf("reading the server's log: %w", err)
	}
	return string(data[min(from, int64(len(data))):]), nil
}

// IsAgent reports whether it is the agent of a host, and no node.
func (s *Server) IsAgent() bool { return s.agent }

// PID of the process that was started last.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.Process.Pid
}

// Kill kills the process and waits until it is gone. Drivers run on. Killing one
// that is gone is no error.
func (s *Server) Kill() error {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.killed = true
	s.mu.Unlock()
	if process == nil {
		return nil
	}
	if err := process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing the server: %w", err)
	}
	<-ended
	return nil
}

// Runs reports whether a process was started and not killed since.
func (s *Server) Runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil && !s.killed
}

// Died reports whether the process ended though nobody killed it.
func (s *Server) Died() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.killed {
		return false
	}
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Pause stops the process where it is, until Resume or Kill. One that is gone is no
// error.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a process that was paused go on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(what syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	if err := s.process.Process.Signal(what); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending the server %s: %w", what, err)
	}
	return nil
}

// URL is where its API is.
func (s *Server) URL() string { return "http://" + s.Listen }

func (s *Server) token() (string, error) {
	if s.bearer != "" {
		return s.bearer, nil
	}
	data, err := os.ReadFile(filepath.Join(s.Dir, "token"))
	return strings.TrimSpace(string(data)), err
}

const (
	readyPatience = time.Minute
	readyPoll     = 10 * time.Millisecond
)

// Client waits until the server answers, a minute at most, and returns a client
// of it.
func (s *Server) Client(ctx context.Context) (*client.Client, error) {
	var ready *client.Client
	err := poll(ctx, func(ctx context.Context) bool {
		token, err := s.token()
		if err != nil {
			return false
		}
		c := client.New(s.URL(), token)
		answer, err := c.Do(ctx, http.MethodGet, "/v1/zone", "", nil)
		if err == nil && answer.Status == http.StatusOK {
			ready = c
		}
		return ready != nil
	})
	if err != nil {
		return nil, fmt.Errorf("the server does not answer; see %s", s.logPath())
	}
	return ready, nil
}

// poll asks again and again until the answer is yes, a minute at most.
func poll(ctx context.Context, ask func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for !ask(ctx) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(readyPoll):
		}
	}
	return nil
}

// Stop kills the server and its driver processes, which would outlive it.
func (s *Server) Stop(ctx context.Context, c *client.Client) error {
	answer, err := c.Insist(ctx, http.MethodGet, "/v1/drivers", nil)
	if err != nil {
		return errors.Join(err, s.Kill())
	}
	if err := s.Kill(); err != nil {
		return err
	}
	var errs []error
	for _, pid := range DriverPIDs(answer, "") {
		if err := KillDriver(pid); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("killing driver process %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

// World is where the simulator of the node keeps what it simulates.
func (s *Server) World(product string) string {
	return filepath.Join(s.Dir, "host", "drivers", strings.ReplaceAll(product, "/", "."), "work", "world")
}

// DriverPIDs lists the driver processes in a list of drivers, or those of one
// product.
func DriverPIDs(answer client.Answer, product string) []int {
	var pids []int
	items, _ := answer.Body["items"].([]any)
	for _, item := range items {
		driver, _ := item.(map[string]any)
		spec, _ := driver["spec"].(map[string]any)
		status, _ := driver["status"].(map[string]any)
		if product != "" && spec["product"] != product {
			continue
		}
		instances, _ := status["instances"].([]any)
		for _, one := range instances {
			instance, _ := one.(map[string]any)
			if pid, ok := instance["pid"].(float64); ok && pid > 1 {
				pids = append(pids, int(pid))
			}
		}
	}
	return pids
}

// KillDriver kills a process if it is a driver's, waits until it is gone, and
// answers syscall.ESRCH if it is none: the number may be another process's by now.
func KillDriver(pid int) error {
	identity, err := processes.Identify(pid)
	if err != nil {
		return gone(err)
	}
	driver, err := processes.Find(identity)
	if err != nil {
		return gone(err)
	}
	defer driver.Close()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(data), asDriver) && !strings.Contains(string(data), asVersion) {
		return syscall.ESRCH
	}
	if err := driver.Signal(unix.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deathPatience)
	defer cancel()
	return driver.Wait(ctx)
}

func gone(err error) error {
	if errors.Is(err, processes.ErrGone) {
		return syscall.ESRCH
	}
	return err
}

// DriverProcesses finds the driver processes that work in the data directory.
func (s *Server) DriverProcesses() ([]int, error) {
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, fmt.Errorf("reading the processes: %w", err)
	}
	var pids []int
	for _, path := range environments {
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains("\x00"+string(data), "\x00"+sdk.EnvWorkDir+"="+s.Dir+"/") {
			continue // it is gone, or another's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
