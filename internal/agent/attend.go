package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/cluster/calls"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
)

// reportEvery is how often a node hears of the agent when there is nothing new.
const reportEvery = 2 * time.Second

// attendance is the nodes that attend the agent.
type attendance struct {
	agentpb.UnimplementedAgentServer
	agent *Agent

	mu    sync.Mutex
	nodes map[string]int // streams by node
	news  chan struct{}  // closed when there is something to report
	// since is when the first came, or the last one went.
	since time.Time
}

func newAttendance(a *Agent) *attendance {
	return &attendance{agent: a, nodes: map[string]int{}, news: make(chan struct{}), since: time.Now()}
}

// tell has all nodes hear how the agent is.
func (a *attendance) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.news)
	a.news = make(chan struct{})
}

func (a *attendance) wait() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.news
}

// Attend implements agentpb.AgentServer.
func (a *attendance) Attend(wire grpc.BidiStreamingServer[agentpb.Word, agentpb.Report]) error {
	node, err := calls.PeerOf(wire.Context())
	if err != nil {
		return err
	}
	a.come(node)
	defer a.leave(node)
	ctx, cancel := context.WithCancel(wire.Context())
	defer cancel()
	heard := make(chan error, 1)
	go func() { // ends with the stream, which ends when this returns
		heard <- a.hear(wire)
	}()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		news := a.wait()
		if err := wire.Send(a.agent.report()); err != nil {
			return err
		}
		select {
		case <-news:
		case <-tick.C:
		case err := <-heard:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hear takes what a node says until it says no more.
func (a *attendance) hear(wire grpc.BidiStreamingServer[agentpb.Word, agentpb.Report]) error {
	for {
		word, err := wire.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.agent.heard(word); err != nil {
			a.agent.config.Log.Error("what a node said was not taken", slog.Any("error", err))
			return err
		}
		a.tell()
	}
}

func (a *attendance) come(node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.nodes) == 0 {
		a.agent.config.Log.Info("a node attends this agent", slog.String("node", node),
			slog.Duration("nobody_did_for", time.Since(a.since).Round(time.Second)))
		a.since = time.Now()
	}
	a.nodes[node]++
}

func (a *attendance) leave(node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nodes[node]--; a.nodes[node] == 0 {
		delete(a.nodes, node)
	}
	if len(a.nodes) == 0 {
		a.agent.config.Log.Warn("no node attends this agent any more: drivers and guests run on")
		a.since = time.Now()
	}
}

// attending lists the nodes that attend, and since when there are some, or none.
func (a *attendance) attending() ([]string, time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.nodes)), a.since
}

// heard takes what a node said.
func (a *Agent) heard(word *agentpb.Word) error {
	if brief := word.GetBrief(); brief != nil {
		if err := a.briefing.take(brief); err != nil {
			return err
		}
	}
	if authorities := word.GetAuthorities(); authorities != nil {
		if err := a.identity.trust(authorities); err != nil {
			return err
		}
	}
	if cert := word.GetCertificate(); len(cert) > 0 {
		return a.identity.renew(cert)
	}
	return nil
}

// report says how the agent is.
func (a *Agent) report() *agentpb.Report {
	own := a.identity.holder.Identity()
	r := &agentpb.Report{
		Version: a.config.Version, Brief: a.briefing.get().GetRevision(),
		CertificateRequest: a.identity.due(time.Now()),
		Trusted:            own.Trust().Pins(), Issuer: own.Trust().IssuerPin(own.Certificate()),
	}
	instances := a.drivers.Instances()
	for _, v := range slices.SortedFunc(maps.Keys(instances), driving.Version.Compare) {
		i := &agentpb.Instance{Product: v.Product, Version: v.Number, Run: a.ready(v, instances[v])}
		shown, err := json.Marshal(instances[v])
		if err == nil { // else less is shown
			i.Shown = shown
		}
		r.Instances = append(r.Instances, i)
	}
	return r
}
