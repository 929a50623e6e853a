package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
)

// server is the process that is killed and started again.
type server struct {
	dir    string
	listen string
	log    *os.File

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}
}

func newServer(dir string) (*server, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	listen := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the server's log: %w", err)
	}
	return &server{dir: dir, listen: listen, log: log}, nil
}

func (s *server) start() error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(executable, "serve", s.dir, s.listen)
	cmd.Stdout, cmd.Stderr = s.log, s.log
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

// kill kills the server and waits until it is gone.
func (s *server) kill() error {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.mu.Unlock()
	if err := process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing the server: %w", err)
	}
	<-ended
	return nil
}

func (s *server) token() (string, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, "token"))
	return strings.TrimSpace(string(data)), err
}

const readyPatience = time.Minute

// client waits until the server answers and returns a client of it.
func (s *server) client(ctx context.Context) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for ctx.Err() == nil {
		token, err := s.token()
		if err == nil {
			c := client.New("http://"+s.listen, token)
			answer, err := c.Do(ctx, http.MethodGet, "/v1/zone", "", nil)
			if err == nil && answer.Status == http.StatusOK {
				return c, nil
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("the server does not answer; see %s", s.log.Name())
}

// killer kills the server and its drivers at random moments until ctx ends or it
// killed enough.
type killer struct {
	server *server
	client *client.Client
	random *rand.Rand
	limit  int
	kills  int
	// shortest and longest time between kills.
	shortest, longest time.Duration
}

func (k *killer) run(ctx context.Context) error {
	for k.limit == 0 || k.kills < k.limit {
		pause := k.shortest + time.Duration(k.random.Int64N(int64(k.longest-k.shortest)))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if err := k.once(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (k *killer) once(ctx context.Context) error {
	what := k.random.IntN(4)
	if what != 0 {
		k.killDriver(ctx)
	}
	if what == 1 || what == 2 {
		return nil // a driver alone
	}
	if err := k.server.kill(); err != nil {
		return err
	}
	k.kills++
	return k.server.start()
}

// killDriver kills one driver process, if the server can be asked for one.
func (k *killer) killDriver(ctx context.Context) {
	answer, err := k.client.Do(ctx, http.MethodGet, "/v1/drivers", "", nil)
	if err != nil || answer.Status != http.StatusOK {
		return
	}
	pids := pidsOf(answer)
	if len(pids) == 0 {
		return
	}
	pid := pids[k.random.IntN(len(pids))]
	if k.server.owns(pid) && syscall.Kill(pid, syscall.SIGKILL) == nil {
		k.kills++
	}
}

// pidsOf lists the driver processes in a list of drivers.
func pidsOf(answer client.Answer) []int {
	var pids []int
	items, _ := answer.Body["items"].([]any)
	for _, item := range items {
		driver, _ := item.(map[string]any)
		status, _ := driver["status"].(map[string]any)
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

// owns looks that a process is one of this server's drivers before it is killed.
func (s *server) owns(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(data), "driver-process")
}
