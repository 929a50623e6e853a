package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// Program is what a node runs, by its own word.
type Program struct {
	// Node that runs it.
	Node string
	// Version of the program; empty if it does not say.
	Version string
	// Levels of zones that it can work with. One that knows no levels can work with the first.
	Levels Levels
	// Level of the zone as far as the node's state goes.
	Level uint32
	// Err is why the node did not say.
	Err error
}

// programPatience is how long a node may take to say what it runs.
const programPatience = 2 * time.Second

// Programs asks nodes what they run, all at once, and returns what each of them said, in their order.
func (n *Node) Programs(ctx context.Context, nodes []string) []Program {
	ctx, cancel := context.WithTimeout(ctx, programPatience)
	defer cancel()
	list := make([]Program, len(nodes))
	var asking sync.WaitGroup
	for i, node := range nodes {
		asking.Go(func() { list[i] = n.program(ctx, node) })
	}
	asking.Wait()
	return list
}

func (n *Node) program(ctx context.Context, node string) Program {
	p := Program{Node: node}
	if node == n.id.NodeID {
		p.Version, p.Levels, p.Level = n.cfg.Version, n.cfg.Levels, n.cfg.Level()
		return p
	}
	if n.peers == nil {
		p.Err = ErrNotMember
		return p
	}
	conn, err := n.Conn(node)
	if err != nil {
		p.Err = err
		return p
	}
	r, err := clusterpb.NewPeerClient(conn).Program(ctx, &clusterpb.ProgramRequest{})
	if status.Code(err) == codes.Unimplemented {
		p.Levels, p.Level = Levels{}.orFirst(), 1
		return p
	}
	if err != nil {
		p.Err = errors.New(status.Convert(err).Message())
		return p
	}
	p.Version, p.Level = r.GetVersion(), r.GetLevel()
	p.Levels = Levels{Oldest: r.GetOldestLevel(), Newest: r.GetNewestLevel()}
	return p
}

// Program implements clusterpb.PeerServer.
func (s *service) Program(ctx context.Context, _ *clusterpb.ProgramRequest) (*clusterpb.ProgramReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	c := s.node.cfg
	return &clusterpb.ProgramReply{
		Version: c.Version, OldestLevel: c.Levels.Oldest, NewestLevel: c.Levels.Newest, Level: c.Level(),
	}, nil
}
