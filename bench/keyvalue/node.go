package keyvalue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// asNode has a program be a node: see Child.
const asNode = "key-value-node"

// question is what a node is asked for, a line of JSON each: one of the fields.
type question struct {
	// Add a node to the cluster, that is reached at At.
	Add string `json:"add,omitempty"`
	At  string `json:"at,omitempty"`
	// Voters are asked for.
	Voters bool `json:"voters,omitempty"`
	// Callers do operations for so long, one after the other each.
	Callers  int           `json:"callers,omitempty"`
	Duration time.Duration `json:"durationNs,omitempty"`
}

// reply answers a question, or says that the node is up.
type reply struct {
	// Address of the node for others.
	Address string `json:"address,omitempty"`
	// Voters is how many nodes agree on what is put, as this one knows.
	Voters int `json:"voters,omitempty"`
	// Took is how long each operation took.
	Took  []time.Duration `json:"tookNs,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Child is a node, if this program was started as one by a Trio. It must be called before anything else. It returns
// false in a program that a person started, else the exit code.
func Child() (exitCode int, isChild bool) {
	if len(os.Args) != 4 || os.Args[1] != asNode {
		return 0, false
	}
	if err := beNode(context.Background(), os.Args[2], os.Args[3], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// beNode answers questions until there are no more.
func beNode(ctx context.Context, dir, listen string, in io.Reader, out io.Writer) (err error) {
	node.TuneRuntime()
	network, name, err := connect(ctx, dir, listen)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	m, err := openMachine(filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.store.Close()) }()
	n, err := cluster.Open(cluster.Config{
		Dir: filepath.Join(dir, "raft"), NodeID: name.Name, ClusterID: name.ClusterID, Join: name.Name != nodeName(0),
		Machine: m, Network: network,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	defer renewing(ctx, n)()
	replies := json.NewEncoder(out)
	if err := replies.Encode(reply{Address: network.Address()}); err != nil {
		return err
	}
	for questions := json.NewDecoder(in); ; {
		var q question
		if err := questions.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a question: %w", err)
		}
		if err := replies.Encode(answer(ctx, n, m, q)); err != nil {
			return err
		}
	}
}

// connect opens the network of the node whose identity is in dir.
func connect(ctx context.Context, dir, listen string) (*wire.Network, pki.Name, error) {
	identity, err := pki.LoadIdentity(dir)
	if err != nil {
		return nil, pki.Name{}, err
	}
	holder, err := pki.NewHolder(identity, pki.Rules{
		Clock: time.Now, Allow: func(pki.Name, time.Time) error { return nil }, Refused: func(error) {},
	})
	if err != nil {
		return nil, pki.Name{}, err
	}
	nodes := []pki.Role{pki.RoleNode}
	network, err := wire.Open(ctx, wire.Config{
		Listen: listen, Holder: holder,
		Purposes: map[string][]pki.Role{cluster.PurposeRaft: nodes, cluster.PurposePeer: nodes},
	})
	return network, identity.Name(), err
}

// renewing has the node say that it is well all the time, as one that acts for a zone's resources does. One that was
// never heard from gets no vote.
func renewing(ctx context.Context, n *cluster.Node) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var renewals sync.WaitGroup
	renewals.Go(func() {
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			_, _ = n.Renew(ctx) // that others are not there shows in the puts
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		renewals.Wait()
	}
}

// renewEvery is how often a node of the product does, for its lease of five seconds.
const renewEvery = time.Second

func answer(ctx context.Context, n *cluster.Node, m *machine, q question) (r reply) {
	var err error
	switch {
	case q.Add != "":
		err = n.Add(ctx, q.Add, q.At)
	case q.Voters:
		for _, member := range n.Members() {
			if member.Voter {
				r.Voters++
			}
		}
	default:
		r.Took, err = operate(ctx, n, m, q.Callers, q.Duration)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}
