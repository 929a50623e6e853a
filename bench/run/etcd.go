package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// trioNodes is how many nodes each contender has.
const trioNodes = 3

// etcdTrio is three nodes of etcd, each in a process of its own with what etcd does by
// default (each write is synced), and a process with the callers.
type etcdTrio struct {
	nodes   []*exec.Cmd
	callers *exec.Cmd
	ask     io.WriteCloser
	answers *json.Decoder
}

func startEtcd(ctx context.Context, program, dir string) (t *etcdTrio, err error) {
	t = &etcdTrio{}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.end())
		}
	}()
	var peers, endpoints []string
	clients := make([]string, trioNodes)
	for i, place := range server.Loopback(trioNodes) {
		if clients[i], err = freeURL(place.Host); err != nil {
			return t, err
		}
		peer, err := freeURL(place.Host)
		if err != nil {
			return t, err
		}
		peers = append(peers, fmt.Sprintf("etcd%d=%s", i+1, peer))
		endpoints = append(endpoints, clients[i])
	}
	for i := range trioNodes {
		if err := t.startNode(program, dir, i, clients[i], peers); err != nil {
			return t, err
		}
	}
	for _, endpoint := range endpoints {
		if err := awaitHealthy(ctx, endpoint); err != nil {
			return t, fmt.Errorf("%w; see the etcd*.log in %s", err, dir)
		}
	}
	return t, t.startCallers(program, endpoints)
}

func (t *etcdTrio) startNode(program, dir string, i int, client string, peers []string) error {
	name, peer, _ := strings.Cut(peers[i], "=")
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return fmt.Errorf("making the log of %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(program, "node", "--name", name, //nolint:noctx // it lives until end
		"--data-dir", filepath.Join(dir, name), "--log-level", "warn",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-state", "new")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	t.nodes = append(t.nodes, cmd)
	return nil
}

func (t *etcdTrio) startCallers(program string, endpoints []string) error {
	cmd := exec.Command(program, "callers", strings.Join(endpoints, ",")) //nolint:noctx // it lives until end
	cmd.Stderr = os.Stderr
	ask, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("preparing the callers of etcd: %w", err)
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("preparing the callers of etcd: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the callers of etcd: %w", err)
	}
	t.callers, t.ask, t.answers = cmd, ask, json.NewDecoder(bufio.NewReader(answers))
	return nil
}

// callersPerConnection is what etcd's documentation measures with.
const callersPerConnection = 10

func (t *etcdTrio) round(_ context.Context, callers int, duration time.Duration) ([]time.Duration, error) {
	err := json.NewEncoder(t.ask).Encode(map[string]any{
		"callers": callers, "nanoseconds": duration, "connections": max(trioNodes, callers/callersPerConnection),
	})
	if err != nil {
		return nil, fmt.Errorf("asking the callers of etcd: %w", err)
	}
	var took []time.Duration
	if err := t.answers.Decode(&took); err != nil {
		return nil, fmt.Errorf("hearing from the callers of etcd: %w", err)
	}
	return took, nil
}

func (t *etcdTrio) used() (u spent, err error) {
	for _, n := range t.nodes {
		took, err := cpuTime(n.Process.Pid)
		if err != nil {
			return u, err
		}
		u.servers += took
	}
	u.callers, err = cpuTime(t.callers.Process.Pid)
	return u, err
}

func (t *etcdTrio) end() error {
	processes := t.nodes
	if t.callers != nil {
		processes = append(processes, t.callers)
	}
	var errs []error
	for _, p := range processes {
		errs = append(errs, p.Process.Kill())
		p.Wait() //nolint:errcheck // it was killed
	}
	return errors.Join(errs...)
}

func freeURL(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // an address, nothing to wait for
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return "http://" + l.Addr().String(), l.Close()
}

const healthPatience = time.Minute

func awaitHealthy(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/health", nil)
		if err != nil {
			return fmt.Errorf("asking etcd at %s: %w", endpoint, err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if late := pause(ctx, 50*time.Millisecond); late != nil {
			return fmt.Errorf("etcd at %s is not well: %w", endpoint, errors.Join(late, err))
		}
	}
}
