package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// briefs says what each agent must know. All are made in one look at the state.
type briefs struct {
	revision    uint64
	authorities *agentpb.Authorities
	expelled    []string
	drivers     []*agentpb.Driver
	bound       map[resources.Kind]map[string][]*agentpb.Bound // by agent
	// changes is of what the state was read at, or before; all is their sum.
	changes map[resources.Kind]uint64
	all     uint64
	secrets *secrets.Keeper
	// paths are the properties that name paths, by product and key.
	paths map[string]map[string]bool
}

// changes grows whenever what briefs are made of may have changed, but for members.
func (n *Node) changes() (all uint64) {
	for _, kind := range append(resources.Bindable(), resources.KindDriver) {
		all += n.machine.Changes(kind)
	}
	return all
}

// authorities are those that this node trusts.
func (n *Node) authorities() *agentpb.Authorities {
	return &agentpb.Authorities{
		Trust: n.network.holder.Identity().Trust().MarshalPEM(), Signer: n.network.pin(),
	}
}

// makeBriefs reads what agents must know; what did not change is taken from those there
// were, if any.
func (n *Node) makeBriefs(had *briefs) (b *briefs, err error) {
	b = &briefs{
		authorities: n.authorities(), secrets: &n.secrets.Keeper, bound: map[resources.Kind]map[string][]*agentpb.Bound{},
		paths: map[string]map[string]bool{}, changes: map[resources.Kind]uint64{},
	}
	for _, kind := range append(resources.Bindable(), resources.KindDriver) {
		b.changes[kind] = n.machine.Changes(kind) // before the state is looked at
		b.all += b.changes[kind]
	}
	err = n.machine.View(func(v *persistence.View) error {
		if b.revision, err = v.Applied(); err != nil {
			return err
		}
		if b.expelled, err = expelledNodes(v); err != nil {
			return err
		}
		return b.read(v, had)
	})
	return b, err
}

// expelledNodes are those that were removed.
func expelledNodes(v *persistence.View) (names []string, err error) {
	members, err := v.Members()
	for _, m := range members {
		if m.Role == string(pki.RoleNode) && m.Expelled {
			names = append(names, m.Name)
		}
	}
	return names, err
}

func (b *briefs) read(v *persistence.View, had *briefs) error {
	same := func(kind resources.Kind) bool { return had != nil && had.changes[kind] == b.changes[kind] }
	known := same(resources.KindDriver)
	if known {
		b.drivers, b.paths = had.drivers, had.paths
	} else if err := eachOf(v, resources.KindDriver, b.driver); err != nil {
		return err
	} else { // an agent that knows of one version only takes the first
		slices.SortStableFunc(b.drivers, func(x, y *agentpb.Driver) int {
			return strings.Compare(x.GetVersion(), y.GetVersion())
		})
	}
	for _, kind := range resources.Bindable() {
		if known && same(kind) {
			b.bound[kind] = had.bound[kind]
			continue
		}
		b.bound[kind] = map[string][]*agentpb.Bound{}
		if err := eachOf(v, kind, b.bind); err != nil {
			return err
		}
	}
	return nil
}

// eachOf calls do for all resources of a kind until it fails.
func eachOf(v *persistence.View, kind resources.Kind, do func(r resources.Resource) error) (failed error) {
	err := v.Each(kind, nil, func(r resources.Resource) bool {
		failed = do(r)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

func (b *briefs) driver(r resources.Resource) (err error) {
	record, ok := r.(*resources.Driver)
	if !ok {
		return nil
	}
	record, _ = b.secrets.Apart(record) // without what can't be opened: the node's log says that
	d := &agentpb.Driver{
		Product: record.Spec.Product, Enabled: record.Spec.Enabled, Secrets: record.Spec.Secrets,
		Version: driving.VersionOf(record).Number, Current: record.Spec.Current, Digest: record.Spec.Digest,
		Tree: record.Spec.Tree, Installs: record.Spec.Installs, Variant: record.Spec.Variant,
	}
	if d.Properties, err = structOf(record.Spec.Properties); err != nil {
		return fmt.Errorf("telling agents of driver %s: %w", record.Spec.Product, err)
	}
	if d.Capabilities, err = structOf(record.Status.Capabilities); err != nil {
		return fmt.Errorf("telling agents what driver %s can do: %w", record.Spec.Product, err)
	}
	if d.Described, err = json.Marshal(record.Status.Properties); err != nil {
		return fmt.Errorf("telling agents of the properties of driver %s: %w", record.Spec.Product, err)
	}
	b.drivers = append(b.drivers, d)
	paths := b.paths[record.Spec.Product] // of all its versions
	if paths == nil {
		paths = map[string]bool{}
		b.paths[record.Spec.Product] = paths
	}
	for _, p := range record.Status.Properties {
		paths[p.Key] = paths[p.Key] || p.PathAccess != ""
	}
	return nil
}

// bind notes what names an agent, or a node: who is which does not matter here.
func (b *briefs) bind(r resources.Resource) error {
	p := operations.PlaceOf(r)
	if p.Product == "" || p.Node == "" {
		return nil
	}
	paths := map[string]any{}
	for key, value := range p.Properties {
		if text, ok := value.(string); ok && b.paths[p.Product][key] {
			paths[key] = text
		}
	}
	encoded, err := structOf(paths)
	if err != nil {
		return err
	}
	kind, member := r.Metadata().Kind, p.Node
	if operations.IsShared(r) {
		member = everyone
	}
	b.bound[kind][member] = append(b.bound[kind][member], &agentpb.Bound{
		Kind: string(kind), Product: p.Product, Phase: string(r.Metadata().Phase), Properties: encoded,
	})
	return nil
}

// everyone stands for all agents: what is shared is there for the guests of each.
const everyone = ""

// of is the brief of an agent.
func (b *briefs) of(agent string) *agentpb.Brief {
	brief := &agentpb.Brief{Revision: b.revision, Drivers: b.drivers, Expelled: b.expelled}
	for _, kind := range resources.Bindable() {
		brief.Bound = append(append(brief.Bound, b.bound[kind][agent]...), b.bound[kind][everyone]...)
	}
	return brief
}

// structOf writes properties down for the wire; dates as text.
func structOf(properties map[string]any) (*structpb.Struct, error) {
	plain := make(map[string]any, len(properties))
	for key, value := range properties {
		if at, ok := value.(time.Time); ok {
			value = at.Format(time.RFC3339)
		}
		plain[key] = value
	}
	return structpb.NewStruct(plain)
}
