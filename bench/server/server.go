package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
)

// deathPatience is how long a driver that was killed may take to be gone.
const deathPatience = 5 * time.Second

// Server is a node in a process of its own.
type Server struct {
	// Dir is its data directory, Listen the address of its API.
	Dir, Listen string

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}
}

// New prepares a server with a data directory that exists. Its log goes to the
// file server.log in there.
func New(dir string) (*Server, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // an address to bind to, nothing to wait for
	if err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	listen := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	return &Server{Dir: dir, Listen: listen}, nil
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, "server.log") }

// Start starts the process; it does not wait until it serves.
func (s *Server) Start() error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(executable, asServer, s.Dir, s.Listen) //nolint:noctx // it lives until Kill
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the server's log: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // it is killed
		close(ended)
	}()
	s.mu.Lock()
	s.process, s.ended = cmd, ended
	s.mu.Unlock()
	return nil
}

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

func (s *Server) token() (string, error) {
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
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for ctx.Err() == nil {
		token, err := s.token()
		if err == nil {
			c := client.New("http://"+s.Listen, token)
			answer, err := c.Do(ctx, http.MethodGet, "/v1/zone", "", nil)
			if err == nil && answer.Status == http.StatusOK {
				return c, nil
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(readyPoll):
		}
	}
	return nil, fmt.Errorf("the server does not answer; see %s", s.logPath())
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
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(process) //nolint:errcheck // nothing was written
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(data), asDriver) {
		return syscall.ESRCH
	}
	if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil {
		return err
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(deathPatience.Milliseconds()))
	return err
}
