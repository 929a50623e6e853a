package gossip

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// Config is what Open needs.
type Config struct {
	// Name is the node's, unique in the cluster.
	Name string
	// Listen is the address for UDP and TCP, ip:port. Port 0 takes a free one.
	Listen string
	// Advertise is where others reach this node, ip:port. Empty means what was listened on; it is needed where that is
	// all addresses.
	Advertise string
	// Label is in clear on every packet and stream; what comes with another one is dropped. Empty means the cluster
	// id.
	Label string
	// Keys decrypt, and the first one encrypts. Each has KeyBytes.
	Keys [][]byte
	// Facts are those of this node until SetFacts. The cluster id is needed.
	Facts Facts
	// Timing is how fast it goes; what is zero in it is taken from DefaultTiming.
	Timing Timing
	// Log takes what happens; nil means nowhere.
	Log *slog.Logger
	// Changed is called, if it is not nil, after Members or Conflicts changed; several changes may share a call. It
	// must be quick, and may call anything but Close.
	Changed func()
	// Network carries packets and streams; nil means the kernel's UDP and TCP.
	Network Network
}

// Timing says how fast news and suspicion travel. All members should have the same.
type Timing struct {
	// ProbeEvery is how often each member asks another one whether it is there, and how long it waits for an answer
	// before it suspects it. Default 400 ms.
	ProbeEvery time.Duration
	// DetourAfter is how long it waits before it asks through others and over TCP as well. Default 200 ms.
	DetourAfter time.Duration
	// SuspectFor is how long a suspect may deny its death, in clusters of up to ten, rounded up to whole ProbeEvery; it
	// grows with the logarithm of the size, to three times as much at a thousand. Where nobody else confirms the
	// suspicion it is three times as long. It must be longer than the longest pause of a process that is not to be
	// taken for dead. Default 1.2 s.
	SuspectFor time.Duration
	// GossipEvery is how often news is passed on to three others; nothing is sent when there is none. Default 100 ms.
	GossipEvery time.Duration
	// SyncEvery is how often all that is known is compared with another member over TCP, in clusters of up to 32; it
	// grows with the logarithm of the size. Default 10 s.
	SyncEvery time.Duration
	// StreamTimeout ends dialing and each transfer over TCP. Default 2 s.
	StreamTimeout time.Duration
	// RetryEvery is how often a member that is dead is called again. The more are alive, the less often each of them
	// does it. Default 2 s.
	RetryEvery time.Duration
}

// DefaultTiming returns the timing for a LAN. On 3 to 9 nodes one that was killed is reported dead after 1.6 to 3.3 s,
// half of the time within 2 s; one that gets no CPU for a second is suspected and not reported dead. When nothing
// happens a member sends about 5 packets/s, however many there are.
func DefaultTiming() Timing {
	return Timing{
		ProbeEvery:    400 * time.Millisecond,
		DetourAfter:   200 * time.Millisecond,
		SuspectFor:    1200 * time.Millisecond,
		GossipEvery:   100 * time.Millisecond,
		SyncEvery:     10 * time.Second,
		StreamTimeout: 2 * time.Second,
		RetryEvery:    2 * time.Second,
	}
}

const (
	// maxSlowdown bounds how many times slower a member probes that gets no answers and takes itself for the cause.
	maxSlowdown = 3
	// unconfirmed is how many times longer a suspicion lasts that nobody confirms.
	unconfirmed = 3
	// retransmit is how often each member passes news on, times the decimal logarithm of how many there are. With 4,
	// one of five missed a newcomer in one start of 200, and learnt of it by the next sync.
	retransmit = 8
	// toldTheDead is for how long the dead are still told the news, so that they may deny it.
	toldTheDead = 30 * time.Second
	// reclaimAfter is for how long the name of a dead member is kept for its address.
	reclaimAfter = 10 * time.Second
	maxNameBytes = 128
)

func orDefault(value, or time.Duration) time.Duration {
	if value <= 0 {
		return or
	}
	return value
}

func (t Timing) withDefaults() Timing {
	d := DefaultTiming()
	return Timing{
		ProbeEvery:    orDefault(t.ProbeEvery, d.ProbeEvery),
		DetourAfter:   orDefault(t.DetourAfter, d.DetourAfter),
		SuspectFor:    orDefault(t.SuspectFor, d.SuspectFor),
		GossipEvery:   orDefault(t.GossipEvery, d.GossipEvery),
		SyncEvery:     orDefault(t.SyncEvery, d.SyncEvery),
		StreamTimeout: orDefault(t.StreamTimeout, d.StreamTimeout),
		RetryEvery:    orDefault(t.RetryEvery, d.RetryEvery),
	}
}

func (c Config) withDefaults() Config {
	c.Timing = c.Timing.withDefaults()
	if c.Label == "" {
		c.Label = c.Facts.ClusterID
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Network == nil {
		c.Network = kernel{}
	}
	return c
}

// addresses returns where to listen and what to advertise; the latter is not valid if it follows from the former.
func (c Config) addresses() (listen, advertise netip.AddrPort, err error) {
	listen, err = netip.ParseAddrPort(c.Listen)
	if err != nil {
		return listen, advertise, fmt.Errorf("%w: listen address %q is not ip:port: %w", ErrConfig, c.Listen, err)
	}
	if c.Advertise == "" {
		if listen.Addr().IsUnspecified() {
			return listen, advertise, fmt.Errorf("%w: listening on %s wants an advertised address", ErrConfig, listen)
		}
		return listen, advertise, nil
	}
	advertise, err = netip.ParseAddrPort(c.Advertise)
	if err != nil {
		return listen, advertise, fmt.Errorf("%w: advertised address %q is not ip:port: %w", ErrConfig, c.Advertise, err)
	}
	if advertise.Port() == 0 || advertise.Addr().IsUnspecified() {
		return listen, advertise, fmt.Errorf("%w: nobody can reach %s", ErrConfig, advertise)
	}
	return listen, advertise, nil
}

func (c Config) check() error {
	switch {
	case c.Name == "" || len(c.Name) > maxNameBytes:
		return fmt.Errorf("%w: name %q must have 1 to %d bytes", ErrConfig, c.Name, maxNameBytes)
	case len(c.Label) > memberlist.LabelMaxSize:
		return fmt.Errorf("%w: label has %d bytes, at most %d", ErrConfig, len(c.Label), memberlist.LabelMaxSize)
	case c.Timing.DetourAfter >= c.Timing.ProbeEvery:
		return fmt.Errorf("%w: detour after %s is not before the next probe after %s", ErrConfig,
			c.Timing.DetourAfter, c.Timing.ProbeEvery)
	case len(c.Keys) == 0:
		return fmt.Errorf("%w: no key", ErrConfig)
	}
	return nil
}

// library returns what memberlist needs to know.
func (c Config) library() *memberlist.Config {
	l := memberlist.DefaultLANConfig()
	l.Name = c.Name
	l.Label = c.Label
	l.ProbeInterval = c.Timing.ProbeEvery
	l.ProbeTimeout = c.Timing.DetourAfter
	l.SuspicionMult = int((c.Timing.SuspectFor + c.Timing.ProbeEvery - 1) / c.Timing.ProbeEvery)
	l.SuspicionMaxTimeoutMult = unconfirmed
	l.RetransmitMult = retransmit
	l.AwarenessMaxMultiplier = maxSlowdown
	l.GossipInterval = c.Timing.GossipEvery
	l.PushPullInterval = c.Timing.SyncEvery
	l.TCPTimeout = c.Timing.StreamTimeout
	l.GossipToTheDeadTime = toldTheDead
	l.DeadNodeReclaimTime = reclaimAfter
	l.EnableCompression = false // costs CPU, and what is small does not get smaller
	return l
}
