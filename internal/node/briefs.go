package node

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// briefs says what each agent must know. All are made in one look at the state.
type briefs struct {
	revision    uint64
	authorities *agentpb.Authorities
	expelled    []string
	drivers     []*agentpb.Driver
	bound       map[string][]*agentpb.Bound // by agent
	// paths are the properties that name paths, by product and key.
	paths map[string]map[string]bool
}

// bindable are the kinds whose resources name a driver.
func bindable() []resources.Kind {
	return []resources.Kind{
		resources.KindHost, resources.KindPool, resources.KindImageStore, resources.KindNetwork,
	}
}

// changes grows whenever what briefs are made of may have changed, but for members.
func (n *Node) changes() (all uint64) {
	for _, kind := range append(bindable(), resources.KindDriver) {
		all += n.machine.Changes(kind)
	}
	return all
}

// authorities are those that this node trusts.
func (n *Node) authorities() *agentpb.Authorities {
	return &agentpb.Authorities{
		Trust: n.network.holder.Identity().Trust().MarshalPEM(), Signer: n.network.authority.Pin(),
	}
}

// makeBriefs reads what agents must know.
func (n *Node) makeBriefs(v *persistence.View) (b *briefs, err error) {
	b = &briefs{
		authorities: n.authorities(), bound: map[string][]*agentpb.Bound{}, paths: map[string]map[string]bool{},
	}
	if b.revision, err = v.Applied(); err != nil {
		return nil, err
	}
	members, err := v.Members()
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.Role == string(pki.RoleNode) && m.Expelled {
			b.expelled = append(b.expelled, m.Name)
		}
	}
	if err := eachOf(v, resources.KindDriver, b.driver); err != nil {
		return nil, err
	}
	for _, kind := range bindable() {
		if err := eachOf(v, kind, b.bind); err != nil {
			return nil, err
		}
	}
	return b, nil
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
	d := &agentpb.Driver{
		Product: record.Spec.Product, Enabled: record.Spec.Enabled, Secrets: record.Spec.Secrets,
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
	paths := map[string]bool{}
	for _, p := range record.Status.Properties {
		paths[p.Key] = paths[p.Key] || p.PathAccess != ""
	}
	b.paths[record.Spec.Product] = paths
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
	b.bound[p.Node] = append(b.bound[p.Node], &agentpb.Bound{
		Kind: string(r.Metadata().Kind), Product: p.Product, Phase: string(r.Metadata().Phase), Properties: encoded,
	})
	return nil
}

// of is the brief of an agent.
func (b *briefs) of(agent string) *agentpb.Brief {
	return &agentpb.Brief{
		Revision: b.revision, Drivers: b.drivers, Bound: b.bound[agent], Expelled: b.expelled,
	}
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
