package keyvalue

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// Trio is three nodes, each in a process of its own, which has its callers, too.
type Trio struct {
	nodes  []*process
	rounds int
}

// process is a node as its Trio sees it.
type process struct {
	cmd     *exec.Cmd
	ask     io.WriteCloser
	replies *json.Decoder
	address string
}

const clusterID = "key-value"

func nodeName(i int) string { return fmt.Sprintf("kv%d", i+1) }

// Start starts a node on each host, with folders in dir.
func Start(ctx context.Context, dir string, hosts []string) (t *Trio, err error) {
	t = &Trio{}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.End())
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return t, fmt.Errorf("making the data directory: %w", err)
	}
	authority, err := pki.NewAuthority(clusterID, time.Now())
	if err != nil {
		return t, err
	}
	for i, host := range hosts {
		home := filepath.Join(dir, nodeName(i))
		if err := issue(authority, nodeName(i), home); err != nil {
			return t, err
		}
		if err := t.start(home, net.JoinHostPort(host, "0")); err != nil {
			return t, fmt.Errorf("starting %s: %w", nodeName(i), err)
		}
	}
	for i, n := range t.nodes[1:] {
		if _, err := t.nodes[0].put(question{Add: nodeName(i + 1), At: n.address}); err != nil {
			return t, fmt.Errorf("adding %s: %w", nodeName(i+1), err)
		}
	}
	return t, t.awaitVotes(ctx)
}

// votePatience is how long it may take until all nodes vote.
const votePatience = time.Minute

// awaitVotes waits until all nodes agree on what is put.
func (t *Trio) awaitVotes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, votePatience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := t.allVote()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// allVote says what is wrong if some node does not know all to vote.
func (t *Trio) allVote() error {
	for i, n := range t.nodes {
		r, err := n.put(question{Voters: true})
		if err == nil && r.Voters != len(t.nodes) {
			err = fmt.Errorf("%d of %d nodes vote", r.Voters, len(t.nodes))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", nodeName(i), err)
		}
	}
	return nil
}

// issue makes the identity of a node in dir.
func issue(authority *pki.Authority, name, dir string) error {
	trust, err := pki.NewTrust(authority.Certificate())
	if err != nil {
		return err
	}
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	request, err := pki.CreateRequest(key)
	if err != nil {
		return err
	}
	as := pki.Name{ClusterID: clusterID, Role: pki.RoleNode, Name: name}
	certificate, err := authority.Sign(request, as, time.Now(), 0)
	if err != nil {
		return err
	}
	identity, err := pki.NewIdentity(key, certificate, trust)
	if err != nil {
		return err
	}
	return identity.Save(dir)
}

// start starts a node and waits until it is up.
func (t *Trio) start(dir, listen string) error {
	cmd := exec.Command("/proc/self/exe", asNode, dir, listen) //nolint:noctx // it lives until End
	cmd.Stderr = os.Stderr
	ask, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	replies, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, ask: ask, replies: json.NewDecoder(bufio.NewReader(replies))}
	t.nodes = append(t.nodes, p)
	up, err := p.reply()
	p.address = up.Address
	return err
}

// put asks a question.
func (p *process) put(q question) (reply, error) {
	if err := json.NewEncoder(p.ask).Encode(q); err != nil {
		return reply{}, fmt.Errorf("asking: %w", err)
	}
	return p.reply()
}

func (p *process) reply() (r reply, err error) {
	if err := p.replies.Decode(&r); err != nil {
		return r, fmt.Errorf("reading the answer: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// Round has callers, spread over the nodes, do operations for so long, one after the other each, and returns how long
// each operation took. An operation is four dependent puts, whose caller looks for the last of them at its node then.
func (t *Trio) Round(_ context.Context, callers int, duration time.Duration) ([]time.Duration, error) {
	took := make([][]time.Duration, len(t.nodes))
	errs := make([]error, len(t.nodes))
	var wg sync.WaitGroup
	t.rounds++
	for i, n := range t.nodes {
		share := callers / len(t.nodes)
		if (i+t.rounds)%len(t.nodes) < callers%len(t.nodes) { // a lone caller is at each node in its turn
			share++
		}
		if share == 0 {
			continue
		}
		wg.Go(func() {
			r, err := n.put(question{Callers: share, Duration: duration})
			took[i], errs[i] = r.Took, err
		})
	}
	wg.Wait()
	var all []time.Duration
	for _, some := range took {
		all = append(all, some...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, t.allVote()
}

// PIDs are the processes of the nodes.
func (t *Trio) PIDs() (pids []int) {
	for _, n := range t.nodes {
		pids = append(pids, n.cmd.Process.Pid)
	}
	return pids
}

// endPatience is how long a node may take to end, which is told the last of all that nobody is there any more.
const endPatience = 15 * time.Second

// End ends all nodes.
func (t *Trio) End() error {
	var errs []error
	for _, n := range t.nodes {
		errs = append(errs, n.ask.Close())
	}
	for i, n := range t.nodes {
		late := time.AfterFunc(endPatience, func() { _ = n.cmd.Process.Kill() })
		if err := n.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", nodeName(i), err))
		}
		late.Stop()
	}
	return errors.Join(errs...)
}
