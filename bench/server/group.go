package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// Place is where a member of a Group lives: hosts of their own are what a network
// between them needs to be cut.
type Place struct {
	// Host is the address it listens on for other members.
	Host string
	// API is the address it listens on for callers; empty = Host.
	API string
	// Enter has work be done where the addresses are; nil = they are this process's.
	Enter func(work func() error) error
	// Prepare makes a data directory ready that is new; nil = there is nothing to do.
	Prepare func(dir string) error
	// Verbose has the log be JSON with all there is to tell.
	Verbose bool
}

// Loopback gives each of n members an address of this machine's own. Nothing else
// takes their ports while they are down: what connects to them comes from 127.0.0.1.
func Loopback(n int) []Place {
	places := make([]Place, n)
	for i := range places {
		places[i].Host = fmt.Sprintf("127.0.77.%d", i+1)
	}
	return places
}

// Group is several nodes of one zone, each a Server, and agents of hosts.
type Group struct {
	Members []*Server
	Agents  []*Server
	token   string
}

// NewGroup makes a zone of as many nodes as there are places, called n1 and so on, with
// data directories in dir, and starts them. What was started before an error is left
// to End.
func NewGroup(ctx context.Context, dir string, places []Place) (*Group, error) {
	return NewGroupOf(ctx, dir, places, "")
}

// NewGroupOf is NewGroup of nodes that run the product's program at a path; "" = this
// one.
func NewGroupOf(ctx context.Context, dir string, places []Place, program string) (*Group, error) {
	g := &Group{}
	for i, place := range places {
		s, err := newMember(dir, fmt.Sprintf("n%d", i+1), place)
		if err != nil {
			return g, err
		}
		s.Program = program
		g.Members = append(g.Members, s)
		if i == 0 {
			err = s.found(ctx)
		} else {
			err = g.join(ctx, s)
		}
		if err != nil {
			return g, err
		}
		if err := s.Start(); err != nil {
			return g, err
		}
		if i == 0 {
			if _, err := s.Client(ctx); err != nil {
				return g, err
			}
			if g.token, err = s.token(); err != nil {
				return g, fmt.Errorf("reading the token: %w", err)
			}
		}
		s.bearer = g.token
	}
	return g, g.AwaitWell(ctx)
}

func newMember(dir, name string, place Place) (*Server, error) {
	own := filepath.Join(dir, name)
	if err := os.Mkdir(own, 0o711); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	s := &Server{Dir: own, Name: name, place: place}
	if place.Prepare != nil {
		if err := place.Prepare(own); err != nil {
			return nil, err
		}
	}
	if place.Enter != nil { // nobody else is there who could have a port
		s.Listen, s.Address = net.JoinHostPort(cmp.Or(place.API, place.Host), "7480"), net.JoinHostPort(place.Host, "7490")
		return s, nil
	}
	var err error
	if s.Listen, err = freePort(cmp.Or(place.API, place.Host)); err != nil {
		return nil, err
	}
	s.Address, err = freePort(place.Host)
	return s, err
}

// freePort finds one that nobody listens on.
func freePort(host string) (string, error) {
	free, err := net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // an address, nothing to wait for
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	listen := free.Addr().String()
	if err := free.Close(); err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listen, nil
}

// join lets a member in, by the first one.
func (g *Group) join(ctx context.Context, s *Server) error {
	first := g.Members[0]
	c := client.New(first.URL(), g.token)
	answer, err := c.Insist(ctx, http.MethodPost, "/v1/join-tokens", map[string]any{"role": "node"})
	if err != nil {
		return err
	}
	token, err := pki.ParseJoinToken(answer.Text("text"))
	if err != nil {
		return fmt.Errorf("making a join token: %d %v: %w", answer.Status, answer.Body, err)
	}
	if s.Program != "" {
		return s.call(ctx, "join", "--name", s.Name, "--token", answer.Text("text"), "--from", first.Address)
	}
	command := exec.CommandContext(ctx, "/proc/self/exe", asJoiner, s.Dir, first.Address, token.Text(), s.Name, s.Address)
	var said []byte
	err = s.enter(func() (err error) {
		said, err = command.CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("joining with %s: %w: %s", s.Name, err, said)
	}
	return nil
}

// found makes a member the first of the zone.
func (s *Server) found(ctx context.Context) error {
	if s.Program != "" {
		return s.call(ctx, "init", "--name", s.Name)
	}
	_, err := node.Init(s.Dir, node.Member{Name: s.Name, Advertise: s.Address})
	return err
}

// call has the product's program do something with the data directory.
func (s *Server) call(ctx context.Context, verb string, args ...string) error {
	args = append([]string{"server", verb, "--data-dir", s.Dir, "--address", s.Address}, args...)
	command := exec.CommandContext(ctx, s.Program, args...)
	var said []byte
	err := s.enter(func() (err error) {
		said, err = command.CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: server %s: %w: %s", s.Program, verb, err, said)
	}
	return nil
}

// AwaitWell returns when all members answer, and each of them knows all to be voters
// that are well, and agents that are, a minute each at most.
func (g *Group) AwaitWell(ctx context.Context) error {
	for _, s := range g.Members {
		if _, err := s.Client(ctx); err != nil {
			return err
		}
	}
	for _, s := range g.Members {
		err := poll(ctx, func(ctx context.Context) bool { return g.allWell(ctx, s) })
		if err != nil {
			return fmt.Errorf("waiting until %s finds all nodes well: %w; see %s", s.Name, err, s.logPath())
		}
	}
	return nil
}

// Well reports whether all members answer and find each other well, now.
func (g *Group) Well(ctx context.Context) bool {
	for _, s := range g.Members {
		asking, cancel := context.WithTimeout(ctx, leaderPatience)
		well := g.allWell(asking, s)
		cancel()
		if !well {
			return false
		}
	}
	return true
}

func (g *Group) allWell(ctx context.Context, asked *Server) bool {
	nodes, err := g.Nodes(ctx, asked)
	well := 0
	for _, n := range nodes {
		if n.Well && n.Role != "learner" {
			well++
		}
	}
	return err == nil && well == len(g.Members)+len(g.Agents)
}

// Known is what a node says of another.
type Known struct {
	Name, Role string
	Well       bool
	Revision   uint64
	Shards     int
}

// Nodes asks a member what it knows of all of them, for sure.
func (g *Group) Nodes(ctx context.Context, asked *Server) ([]Known, error) {
	return g.nodes(ctx, asked, "/v1/nodes")
}

func (g *Group) nodes(ctx context.Context, asked *Server, path string) ([]Known, error) {
	answer, err := client.New(asked.URL(), g.token).Do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return nil, err
	}
	items, _ := answer.Body["items"].([]any)
	nodes := make([]Known, len(items))
	for i, item := range items {
		n, _ := item.(map[string]any)
		revision, _ := n["revision"].(float64)
		shards, _ := n["shards"].(float64)
		nodes[i] = Known{
			Name: fmt.Sprint(n["name"]), Role: fmt.Sprint(n["role"]), Well: n["well"] == true,
			Revision: uint64(revision), Shards: int(shards),
		}
	}
	if answer.Status != http.StatusOK {
		err = fmt.Errorf("listing the nodes: %d %v", answer.Status, answer.Body)
	}
	return nodes, err
}

// Applied tells the revision that the state of all members has; 0 if they do not have
// the same.
func (g *Group) Applied(ctx context.Context) (uint64, error) {
	same := uint64(0)
	for i, s := range g.Members {
		nodes, err := g.nodes(ctx, s, "/v1/nodes?consistency=stale")
		if err != nil {
			return 0, err
		}
		for _, n := range nodes {
			if n.Name == s.Name && i == 0 {
				same = n.Revision
			}
			if n.Name == s.Name && n.Revision != same {
				return 0, nil
			}
		}
	}
	return same, nil
}

// leaderPatience is how long a member may take to say who leads.
const leaderPatience = time.Second

// Leader tells which member leads, as the first that answers knows it for sure; nil if
// nobody says so now.
func (g *Group) Leader(ctx context.Context) *Server {
	for _, s := range g.Members {
		if !s.Runs() {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, leaderPatience)
		nodes, err := g.Nodes(asking, s)
		cancel()
		if err != nil {
			continue
		}
		for _, n := range nodes {
			if n.Role == "leader" {
				return g.Find(n.Name)
			}
		}
	}
	return nil
}

// Find finds a member or an agent by its name; nil if there is none.
func (g *Group) Find(name string) *Server {
	for _, s := range slices.Concat(g.Members, g.Agents) {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Client returns a client of the i-th member that goes on with the others when that
// one does not answer.
func (g *Group) Client(i int) *client.Client {
	c := client.New(g.Members[i].URL(), g.token)
	for k := 1; k < len(g.Members); k++ {
		c.Others = append(c.Others, g.Members[(i+k)%len(g.Members)].URL())
	}
	return c
}

// End kills all members, all agents and their drivers, also if they are stopped.
func (g *Group) End() error {
	var errs []error
	all := slices.Concat(g.Members, g.Agents)
	for _, s := range all {
		errs = append(errs, s.Kill())
	}
	for _, s := range all {
		_, err := s.KillDrivers(func(int) bool { return true })
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// PauseDrivers stops the driver processes of a member that run product, or all of
// them, where they are. Resume has them go on; those that are gone by then are no error.
func (s *Server) PauseDrivers(product string) (resume func() error, err error) {
	pids, err := s.DriverProcesses()
	var stopped []*os.Process
	for _, pid := range pids {
		data, failed := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		process, gone := os.FindProcess(pid)
		if failed != nil || gone != nil || !strings.Contains(string(data), product) {
			continue
		}
		if process.Signal(syscall.SIGSTOP) == nil {
			stopped = append(stopped, process)
		}
	}
	return func() error {
		for _, process := range stopped {
			_ = process.Signal(syscall.SIGCONT) // it may have been killed
		}
		return nil
	}, err
}

// KillDrivers kills some of the driver processes of a member: those that pick says yes
// to. It returns how many.
func (s *Server) KillDrivers(pick func(i int) bool) (int, error) {
	pids, err := s.DriverProcesses()
	killed := 0
	for i, pid := range pids {
		if !pick(i) {
			continue
		}
		switch failed := KillDriver(pid); {
		case failed == nil:
			killed++
		case !errors.Is(failed, syscall.ESRCH):
			err = errors.Join(err, fmt.Errorf("killing driver process %d: %w", pid, failed))
		}
	}
	return killed, err
}
