package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// briefing is the newest brief, kept in a file. It implements driving.State.
type briefing struct {
	name string // of the agent
	path string
	keys secrets.Ring // of this directory alone, for what is kept of the brief
	// changed receives when a newer brief was taken.
	changed chan struct{}

	taking  sync.Mutex // who takes a brief
	mu      sync.Mutex
	current *agentpb.Brief // nil = none was given yet; never changed
	changes uint64
}

// openBriefing reads the brief that was kept, if there is one. What can't be read is not there: nodes say it again.
func openBriefing(name, path string) (*briefing, error) {
	b := &briefing{name: name, path: path, changed: make(chan struct{}, 1)}
	var err error
	if b.keys, err = ownKeys(path + keysSuffix); err != nil {
		return b, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("reading what nodes said last: %w", err)
	}
	kept := &agentpb.Brief{}
	if err := proto.Unmarshal(text, kept); err != nil {
		return b, fmt.Errorf("reading what nodes said last in %s: %w; remove it, and nodes say it again", path, err)
	}
	if err := b.openSecrets(kept); err != nil {
		return b, fmt.Errorf("reading what nodes said last in %s: %w; remove it, and nodes say it again", path, err)
	}
	b.put(kept)
	return b, nil
}

func (b *briefing) put(next *agentpb.Brief) {
	b.mu.Lock()
	b.current = next
	b.changes++
	b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// get returns the newest brief; nil if there is none.
func (b *briefing) get() *agentpb.Brief {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current
}

// take keeps a brief, durably, unless it is older than the one that is there.
func (b *briefing) take(next *agentpb.Brief) error {
	b.taking.Lock()
	defer b.taking.Unlock()
	had := b.get()
	if next.GetRevision() < had.GetRevision() {
		return nil
	}
	if sameBrief(had, next) { // nodes hear that this one is known too; it need not be kept
		b.mu.Lock()
		defer b.mu.Unlock()
		b.current = next
		return nil
	}
	kept, err := b.sealSecrets(next)
	if err != nil {
		return fmt.Errorf("keeping what a node said: %w", err)
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(kept)
	if err == nil {
		err = durable.ReplaceFile(b.path, text)
	}
	if err != nil {
		return fmt.Errorf("keeping what a node said: %w", err)
	}
	b.put(next)
	return nil
}

// sameBrief reports whether two briefs say the same, whenever they were made.
func sameBrief(a, b *agentpb.Brief) bool {
	if a == nil || b == nil {
		return false
	}
	copied, ok := proto.Clone(a).(*agentpb.Brief)
	if !ok {
		return false
	}
	copied.Revision = b.GetRevision()
	return proto.Equal(copied, b)
}

// expelled reports whether a node was removed from the cluster.
func (b *briefing) expelled(node string) bool { return slices.Contains(b.get().GetExpelled(), node) }

// Versions implements driving.State.
func (b *briefing) Versions(product string) (list []*resources.Driver, err error) {
	for _, d := range b.get().GetDrivers() {
		if product != "" && d.GetProduct() != product {
			continue
		}
		r, err := record(d)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// record is a driver's record, as far as it was said.
func record(d *agentpb.Driver) (*resources.Driver, error) {
	r := &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: d.GetProduct()},
		Spec: resources.DriverSpec{
			Product: d.GetProduct(), Version: d.GetVersion(), BuiltIn: d.GetVersion() == "", Current: d.GetCurrent(),
			Digest: d.GetDigest(), Tree: d.GetTree(), Installs: d.GetInstalls(), Variant: d.GetVariant(),
			Enabled: d.GetEnabled(), Properties: d.GetProperties().AsMap(), Secrets: d.GetSecrets(),
		},
		Status: resources.DriverStatus{Capabilities: d.GetCapabilities().AsMap()},
	}
	if len(d.GetDescribed()) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(d.GetDescribed(), &r.Status.Properties); err != nil {
		return nil, fmt.Errorf("reading what driver %s says of itself: %w", d.GetProduct(), err)
	}
	return (*secrets.Keeper)(nil).Apart(r) // a node of an older version does not tell secrets apart
}

// Bound implements driving.State.
func (b *briefing) Bound(kind resources.Kind, yield func(driving.Bound) bool) error {
	for _, r := range b.get().GetBound() {
		if r.GetKind() != string(kind) {
			continue
		}
		if !yield(driving.Bound{
			Product: r.GetProduct(), Node: b.name, Phase: resources.Phase(r.GetPhase()), Properties: r.GetProperties().AsMap(),
		}) {
			return nil
		}
	}
	return nil
}

// Changes implements driving.State.
func (b *briefing) Changes(resources.Kind) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changes
}
