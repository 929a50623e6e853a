package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// attended is one agent, as this node knows it.
type attended struct {
	agents        *agents
	name, address string
	admitted      time.Time
	end           context.CancelFunc

	mu sync.Mutex
	// conn leads to it while it reports; nil else.
	conn *grpc.ClientConn
	// heard is when it last reported, zero if it never did to this node; since is when
	// it began to report, or fell silent.
	heard, since time.Time
	lost         bool // it is silent for so long that what it drives is degraded
	version      string
	trusted      []string // pins of the authorities that it trusts
	issuer       string   // and of the one that signed its certificate
	instances    map[driving.Version]resources.Instance
	runs         map[driving.Version]string // of its drivers that have their resources
	why          string                     // it can't be reached
	// told is how many changes it was told of, or did not have to be; sent is the
	// revision of the last brief it was sent, and known that of the one it has.
	told, sent, known uint64
	progress          chan struct{} // closed when one of them changes
}

// attend calls the agent again and again until ctx ends.
func (a *attended) attend(ctx context.Context) {
	log := a.agents.node.config.Log.With(slog.String("agent", a.name), slog.String("address", a.address))
	for pause := agentFirst; ctx.Err() == nil; pause = min(2*pause, agentMost) {
		reported, err := a.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if reported {
			pause = agentFirst
			log.Warn("an agent is silent", slog.Any("error", err))
		} else {
			log.Debug("an agent can't be reached", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause - rand.N(pause/4)):
		}
	}
}

// once attends the agent until it is silent. It says whether it was heard from.
func (a *attended) once(ctx context.Context) (reported bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(agentPatience, func() { cancel(errSilent) })
	defer watch.Stop()
	conn, err := a.agents.conn(a.name, a.address)
	if err == nil {
		var stream grpc.BidiStreamingClient[agentpb.Word, agentpb.Report]
		if stream, err = agentpb.NewAgentClient(conn).Attend(ctx); err == nil {
			reported, err = a.converse(ctx, conn, stream, watch)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	a.silent(err)
	return reported, err
}

// converse says what is new and hears the reports.
func (a *attended) converse(
	ctx context.Context, conn *grpc.ClientConn, stream grpc.BidiStreamingClient[agentpb.Word, agentpb.Report],
	watch *time.Timer,
) (reported bool, err error) {
	reports, failed := make(chan *agentpb.Report), make(chan error, 1)
	go func() { failed <- receive(ctx, stream, reports) }() // ends with the stream, which ends with ctx
	said := &agentpb.Word{}
	a.note(func() { a.told, a.known = 0, 0 })
	for {
		news := a.agents.news()
		if err := a.tell(stream, said); err != nil {
			return reported, err
		}
		select {
		case <-news:
		case err := <-failed:
			return reported, err
		case report := <-reports:
			watch.Reset(agentPatience)
			reported = true
			a.take(conn, report)
			if err := a.sign(stream, report.GetCertificateRequest()); err != nil {
				return reported, err
			}
		}
	}
}

// receive passes reports on until there are no more.
func receive(
	ctx context.Context, stream grpc.BidiStreamingClient[agentpb.Word, agentpb.Report], reports chan<- *agentpb.Report,
) error {
	for {
		report, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case reports <- report:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// note changes what is known of how far the agent was told things, for those that wait.
func (a *attended) note(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.progress)
	a.progress = make(chan struct{})
}

// tell says what the agent was not told yet.
func (a *attended) tell(stream grpc.BidiStreamingClient[agentpb.Word, agentpb.Report], said *agentpb.Word) error {
	all := a.agents.briefs.Load()
	if all == nil {
		return nil
	}
	if word := a.word(all, said); word != nil {
		if err := stream.Send(word); err != nil {
			return err
		}
	}
	a.note(func() { a.told, a.sent = all.all, said.GetBrief().GetRevision() })
	return nil
}

// informed waits until the agent knows what this node knew when it was asked: else a
// driver could be refused what a resource that was just made has given it.
func (a *attended) informed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, agentPatience)
	defer cancel()
	need := a.agents.node.changes()
	for {
		a.mu.Lock()
		done, progress := a.told >= need && a.known >= a.sent, a.progress
		behind := a.told < need
		a.mu.Unlock()
		if done {
			return nil
		}
		if behind {
			wake(a.agents.soon)
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return silentAgent(resources.CodeAgentSilent, "agent "+a.name+" did not take in time what it has to know")
		}
	}
}

// distant is the drivers of an agent.
type distant struct {
	*relay.Remote
	agent *attended
}

// Conn implements relay.Drivers.
func (d distant) Conn(ctx context.Context, p relay.Place) (grpc.ClientConnInterface, string, error) {
	if err := d.agent.informed(ctx); err != nil {
		return nil, "", err
	}
	return d.Remote.Conn(ctx, p)
}

// word is what the agent is to be told, if that differs from what was said, which is
// then noted.
func (a *attended) word(all *briefs, said *agentpb.Word) *agentpb.Word {
	var word *agentpb.Word
	if next := all.of(a.name); !sameBrief(next, said.GetBrief()) {
		word = &agentpb.Word{Brief: next}
		said.Brief = next
	}
	if !proto.Equal(all.authorities, said.GetAuthorities()) {
		if word == nil {
			word = &agentpb.Word{}
		}
		word.Authorities, said.Authorities = all.authorities, all.authorities
	}
	return word
}

// sameBrief reports whether two briefs say the same, whenever they were made.
func sameBrief(a, b *agentpb.Brief) bool {
	if a == nil || b == nil {
		return false
	}
	return proto.Equal(&agentpb.Brief{
		Revision: b.GetRevision(), Drivers: a.GetDrivers(), Bound: a.GetBound(), Expelled: a.GetExpelled(),
	}, b)
}

// sign gives the agent another certificate, if it asks for one.
func (a *attended) sign(stream grpc.BidiStreamingClient[agentpb.Word, agentpb.Report], request []byte) error {
	if len(request) == 0 {
		return nil
	}
	n := a.agents.node
	name := pki.Name{ClusterID: n.network.member.ClusterID, Role: pki.RoleHost, Name: a.name}
	m, _, err := n.memberOf(name)
	if err != nil {
		return err
	}
	name.Admission = m.Admission
	welcome, err := n.network.sign(request, name)
	if err != nil {
		return fmt.Errorf("signing the certificate of agent %s: %w", a.name, err)
	}
	return stream.Send(&agentpb.Word{Certificate: welcome.Certificate})
}

// take notes what the agent reports, and has drivers that were started there adopt
// what they serve.
func (a *attended) take(conn *grpc.ClientConn, r *agentpb.Report) {
	instances := map[driving.Version]resources.Instance{}
	var started []driving.Version
	back := false
	a.mu.Lock()
	for _, i := range r.GetInstances() {
		var shown resources.Instance
		v := driving.Version{Product: i.GetProduct(), Number: i.GetVersion()}
		if json.Unmarshal(i.GetShown(), &shown) == nil {
			shown.Node = a.name
			instances[v] = shown
		}
		if run := i.GetRun(); run != "" && run != a.runs[v] {
			a.runs[v] = run
			started = append(started, v)
		}
	}
	now := time.Now()
	if a.conn == nil {
		a.since, a.why, back = now, "", a.lost
		a.lost = false
	}
	a.conn, a.heard, a.version, a.instances = conn, now, r.GetVersion(), instances
	a.trusted, a.issuer = r.GetTrusted(), r.GetIssuer()
	a.mu.Unlock()
	a.note(func() { a.known = r.GetBrief() })
	system := a.agents.node.system
	if back {
		system.Look()
	}
	for _, v := range started {
		if err := system.Adopt(startedAt(v, a.name)); err != nil {
			a.agents.node.config.Log.Warn("giving a driver its resources back failed",
				slog.String("driver", v.String()), slog.String("agent", a.name), slog.Any("error", err))
		}
	}
}

// silent notes that the agent does not report any more.
func (a *attended) silent(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		a.conn, a.since = nil, a.heard
	}
	a.why = why.Error()
}

// giveUp reports whether the agent has been silent for too long, once.
func (a *attended) giveUp() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil || a.lost || time.Since(a.since) < a.agents.node.config.AgentGrace {
		return false
	}
	a.lost = true
	return true
}

// drivers are those of the agent.
func (a *attended) drivers() (relay.Drivers, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.conn != nil:
		return distant{relay.NewRemote(a.conn), a}, nil
	case !a.lost:
		return nil, silentAgent(resources.CodeAgentSilent,
			fmt.Sprintf("agent %s does not answer just now: %s", a.name, a.why))
	}
	since := a.since.UTC().Format(time.RFC3339)
	if a.heard.IsZero() {
		return nil, silentAgent(resources.CodeAgentUnreachable,
			fmt.Sprintf("agent %s, whose drivers act for this, has been silent since %s or longer", a.name, since))
	}
	return nil, silentAgent(resources.CodeAgentUnreachable,
		fmt.Sprintf("agent %s, whose drivers act for this, has been silent since %s", a.name, since))
}

func (a *attended) view() door.NodeView {
	a.mu.Lock()
	defer a.mu.Unlock()
	return door.NodeView{
		Name: a.name, Address: a.address, Role: door.NodeAgent, Well: a.conn != nil, LastHeard: a.heard.UTC(),
		Version: a.version,
	}
}

func (a *attended) instance(v driving.Version) (resources.Instance, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, known := a.instances[v]
	return i, known && a.conn != nil
}
