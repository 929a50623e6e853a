package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/cluster/calls"
	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// service is what a node answers to the others.
type service struct {
	clusterpb.UnimplementedPeerServer
	node *Node
}

// PeerOf names the node that makes a call of a service registered with Config.Register.
func PeerOf(ctx context.Context) (string, error) { return calls.PeerOf(ctx) }

// member refuses callers that are not nodes of the cluster as this node knows it: a host agent, or one that was
// removed.
func (s *service) member(ctx context.Context) (string, error) {
	name, err := PeerOf(ctx)
	if err != nil {
		return "", err
	}
	if _, known := s.node.member(name); !known {
		return "", status.Errorf(codes.PermissionDenied, "%s is no node of this cluster, as far as %s knows",
			name, s.node.id.NodeID)
	}
	return name, nil
}

// Forward implements clusterpb.PeerServer.
func (s *service) Forward(wire grpc.BidiStreamingServer[clusterpb.Proposals, clusterpb.Answers]) error {
	if _, err := s.member(wire.Context()); err != nil {
		return err
	}
	out := &outbox{wake: make(chan struct{}, 1)}
	ended := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() { out.send(wire, ended) })
	defer sender.Wait()
	defer close(ended)
	for {
		message, err := wire.Recv()
		if err != nil {
			return nil // the other side ended it, or is lost: it knows better than this one
		}
		for _, p := range message.GetProposals() {
			s.take(wire.Context(), p, out)
		}
	}
}

// take puts a proposal of another node into the queue. It waits while that is full, and with it the one who sends.
func (s *service) take(ctx context.Context, p *clusterpb.Proposal, out *outbox) {
	n := s.node
	refuse := func(err error) {
		a := refusalOf(err)
		a.Number = p.GetNumber()
		out.put(a)
	}
	_, err := n.leadership.current()
	if err == nil {
		err = n.disk.check(p.GetReserved())
	}
	if err == nil && len(p.GetCommand()) > MaxCommandBytes {
		err = ErrCommandTooLarge
	}
	if err = errors.Join(n.stoppedError(), err); err != nil {
		refuse(err)
		return
	}
	cost := queueCost(p.GetCommand())
	if err := n.room.Acquire(ctx, cost); err != nil {
		refuse(fmt.Errorf("%w: %w", ErrOverloaded, err))
		return
	}
	q := newProposal(p.GetCommand(), p.GetReserved())
	q.tag = tag{origin: p.GetOrigin(), number: p.GetNumber()}
	q.reply = func(a answer) {
		n.room.Release(cost)
		if a.err != nil {
			refuse(a.err)
			return
		}
		out.put(&clusterpb.Answer{Number: p.GetNumber(), Index: a.index})
	}
	if !n.queue.put(q) {
		q.answer(answer{err: n.stoppedError()})
	}
}

// outbox gathers answers, so that many go in one message. What is in it is bounded by what may be under way.
type outbox struct {
	wake chan struct{}
	mu   sync.Mutex
	list []*clusterpb.Answer
}

func (o *outbox) put(a *clusterpb.Answer) {
	o.mu.Lock()
	o.list = append(o.list, a)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) take() []*clusterpb.Answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.list
	o.list = nil
	return list
}

// send sends what is put until ended. Who asked hears of an error by the end of the stream.
func (o *outbox) send(wire grpc.BidiStreamingServer[clusterpb.Proposals, clusterpb.Answers], ended <-chan struct{}) {
	for {
		select {
		case <-o.wake:
		case <-ended:
			return
		}
		if list := o.take(); len(list) > 0 {
			if err := wire.Send(&clusterpb.Answers{Answers: list}); err != nil {
				return
			}
		}
	}
}

// ReadIndex implements clusterpb.PeerServer.
func (s *service) ReadIndex(ctx context.Context, _ *clusterpb.ReadIndexRequest) (*clusterpb.ReadIndexReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	if _, err := s.node.leadership.current(); err != nil { // not to be passed on to and fro
		return nil, wireError(err)
	}
	index, err := s.node.joinRound(ctx)
	if err != nil {
		return nil, wireError(err)
	}
	return &clusterpb.ReadIndexReply{Index: index}, nil
}

// Confirm implements clusterpb.PeerServer.
func (s *service) Confirm(ctx context.Context, r *clusterpb.ConfirmRequest) (*clusterpb.ConfirmReply, error) {
	name, err := PeerOf(ctx)
	if err != nil {
		return nil, err
	}
	_, leader := s.node.raft.LeaderWithID()
	leads := string(leader) == name && s.node.raft.CurrentTerm() == r.GetTerm() && s.node.stoppedError() == nil
	return &clusterpb.ConfirmReply{Leads: leads}, nil
}

// Yield implements clusterpb.PeerServer.
func (s *service) Yield(ctx context.Context, r *clusterpb.YieldRequest) (*clusterpb.YieldReply, error) {
	name, err := s.member(ctx)
	if err != nil {
		return nil, err
	}
	return &clusterpb.YieldReply{Yields: s.node.yields(ctx, name, r)}, nil
}

// Renew implements clusterpb.PeerServer.
func (s *service) Renew(ctx context.Context, r *clusterpb.RenewRequest) (*clusterpb.RenewReply, error) {
	name, err := s.member(ctx)
	if err != nil {
		return nil, err
	}
	index, err := s.node.hear(ctx, name, r)
	if err != nil {
		return nil, wireError(err)
	}
	return &clusterpb.RenewReply{Index: index, Hearings: s.node.hearings()}, nil
}

// Change implements clusterpb.PeerServer.
func (s *service) Change(ctx context.Context, r *clusterpb.ChangeRequest) (*clusterpb.ChangeReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	if err := s.node.change(ctx, r); err != nil {
		return nil, wireError(err)
	}
	return &clusterpb.ChangeReply{}, nil
}

// wireError is what of an error another node is told.
func wireError(err error) error {
	code := codes.Unknown
	switch {
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrStopped):
		code = codes.FailedPrecondition
	case errors.Is(err, ErrQuorum):
		code = codes.Aborted
	case errors.Is(err, ErrNotMember):
		code = codes.NotFound
	case errors.Is(err, ErrLeadStays):
		code = codes.OutOfRange
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.Error(code, err.Error())
}

// leaderError is the reverse of wireError.
func leaderError(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.FailedPrecondition, codes.Unavailable, codes.PermissionDenied:
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case codes.Aborted:
		return fmt.Errorf("%w: %s", ErrQuorum, status.Convert(err).Message())
	case codes.NotFound:
		return fmt.Errorf("%w: %s", ErrNotMember, status.Convert(err).Message())
	case codes.OutOfRange:
		return fmt.Errorf("%w: %s", ErrLeadStays, status.Convert(err).Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	case codes.Canceled:
		return fmt.Errorf("%w: %w", context.Canceled, err)
	default:
		return err
	}
}
