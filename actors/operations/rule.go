package operations

import (
	"context"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// ruleOperations mark the rule first and then have the network put all marked
// rules in force. The first step of each is there for its undo alone: undone
// last, it puts in force what is marked once the mark is taken back.
func ruleOperations() []Definition {
	return []Definition{
		{Kind: resources.KindRule, Action: "create", Steps: steps(
			Step{Name: "restore", Do: nothing, Undo: applyToNetwork},
			Step{Name: "enter", Do: enterRule, Undo: withdrawRule},
			Step{Name: "apply", Do: applyToNetwork},
		)},
		{Kind: resources.KindRule, Action: "delete", Steps: steps(
			Step{Name: "restore", Do: nothing, Undo: applyToNetwork},
			Step{Name: "withdraw", Do: withdrawRule, Undo: enterRule},
			Step{Name: "apply", Do: applyToNetwork},
		)},
		{Kind: resources.KindRule, Action: "update", Steps: steps(
			Step{Name: "restore", Do: nothing, Undo: applyToNetwork},
			Step{Name: "change", Do: changeRule, Undo: restoreRule},
			Step{Name: "apply", Do: applyChangedRule},
		)},
	}
}

// applyRules puts the network's marked rules in force, all of them at once.
func applyRules(ctx context.Context, c *Context) error {
	n, d, err := c.network(ctx)
	if err != nil {
		return err
	}
	rules, revision, err := c.rulesOf(n)
	if err != nil {
		return err
	}
	// The set is that of all rules, not of this operation alone: another attempt may find another set, and asks for it
	// by another token.
	d.call.Token = fmt.Sprintf("%s@%d", c.Token(), revision)
	ref := &driverpb.NetworkRef{Resource: protoRef(n.Ref()), Handle: d.call.GetHandle()}
	reply, err := driverpb.NewNetworksClient(d.conn).ApplyRules(ctx,
		&driverpb.RulesRequest{Call: d.call, Network: ref, Spec: networkSpec(n), Rules: rules})
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	Change(c, func(n *resources.Network) { n.Status.RulesRevision = revision })
	return nil
}

// rulesOf lists the network's marked rules, and the revision of the state they are of.
func (c *Context) rulesOf(n *resources.Network) (rules []*driverpb.Rule, revision uint64, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		var failed error
		if revision, failed = v.Applied(); failed != nil {
			return failed
		}
		err := v.Each(resources.KindRule, map[string]string{"network": n.ID}, func(r resources.Resource) bool {
			rule, ok := r.(*resources.Rule)
			if !ok || !rule.Status.InForce {
				return true
			}
			var p *driverpb.Rule
			if p, failed = protoRule(v, rule); failed == nil {
				rules = append(rules, p)
			}
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		return err
	})
	return rules, revision, err
}

func protoRule(v *persistence.View, r *resources.Rule) (*driverpb.Rule, error) {
	from, to, _ := r.Spec.PortRange()
	p := &driverpb.Rule{
		Resource: protoRef(r.Ref()), Type: r.Spec.Type, Action: r.Spec.Action, Protocol: r.Spec.Protocol,
		PortFrom: from, PortTo: to, Cidrs: r.Spec.CIDRs, Priority: r.Spec.Priority,
		TargetPort: r.Spec.TargetPort, ListenPort: r.Spec.ListenPort, ListenAddress: r.Spec.ListenAddress,
	}
	if p.GetAction() == "" {
		p.Action = "allow"
	}
	if p.GetProtocol() == "" {
		p.Protocol = "any"
		if r.Spec.Type == "port-forward" {
			p.Protocol = "tcp"
		}
	}
	if r.Spec.NicID == "" {
		return p, nil
	}
	nic, err := persistence.Find[*resources.Nic](v, resources.KindNic, string(r.Spec.NicID))
	if err != nil {
		return nil, err
	}
	p.TargetAddress = nic.Status.Address
	return p, nil
}

func enterRule(_ context.Context, c *Context) error {
	r, err := Target[*resources.Rule](c)
	if err != nil {
		return err
	}
	listen, err := c.listenAddress(&r.Spec)
	if err != nil {
		return err
	}
	Change(c, func(r *resources.Rule) { r.Status.InForce, r.Status.ListenAddress = true, listen })
	return nil
}

// listenAddress is where a forward listens; "" for other rules. A forward to a nic
// of another network is refused.
func (c *Context) listenAddress(spec *resources.RuleSpec) (string, error) {
	if spec.Type != "port-forward" {
		return "", nil
	}
	if !c.Undoing {
		nic, err := Find[*resources.Nic](c, resources.KindNic, string(spec.NicID))
		if err != nil {
			return "", err
		}
		if nic.Spec.NetworkID != spec.NetworkID {
			return "", foreignNic(nic, spec.NetworkID)
		}
	}
	if spec.ListenAddress != "" {
		return spec.ListenAddress, nil
	}
	n, err := Find[*resources.Network](c, resources.KindNetwork, string(spec.NetworkID))
	if err != nil {
		return "", err
	}
	return n.Status.Facts["outerAddress"], nil
}

func foreignNic(nic *resources.Nic, network resources.NetworkID) error {
	ref := nic.Ref()
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "nic-of-another-network",
		Message: "nic " + nic.ID + " is in network " + string(nic.Spec.NetworkID) + ", the rule is of " + string(network),
		Remedy:  "choose a nic of the rule's network, or make a rule of the nic's network", Resource: &ref,
		Fields: []resources.FieldError{{Pointer: "/spec/nicId", Code: "not-in-network", Message: "is in another network"}},
	}
}

func withdrawRule(_ context.Context, c *Context) error {
	Change(c, func(r *resources.Rule) { r.Status.InForce = false })
	return nil
}

func applyToNetwork(ctx context.Context, c *Context) error {
	r, err := Target[*resources.Rule](c)
	if err != nil {
		return err
	}
	network := resources.Ref{Kind: resources.KindNetwork, ID: string(r.Spec.NetworkID)}
	_, err = c.ask(ctx, "", Ask{Action: "apply-rules", Target: network})
	return err
}

// changeRule gives the rule the fields that the operation changes.
func changeRule(_ context.Context, c *Context) error {
	r, err := Target[*resources.Rule](c)
	if err != nil {
		return err
	}
	former := formerSpec(c, r.Status.Former, r.Spec)
	spec, err := changedSpec(former.Spec, c.Operation.Arguments.Spec)
	if err != nil {
		return err
	}
	if err := valid(&resources.Rule{Meta: r.Meta, Spec: spec}); err != nil {
		return err
	}
	listen, err := c.listenAddress(&spec)
	if err != nil {
		return err
	}
	Change(c, func(r *resources.Rule) { r.Spec, r.Status.ListenAddress, r.Status.Former = spec, listen, former })
	return nil
}

// restoreRule gives the rule the spec that it had, if this operation changed it.
func restoreRule(_ context.Context, c *Context) error {
	r, err := Target[*resources.Rule](c)
	if err != nil || !changedBy(c, r.Status.Former) {
		return err
	}
	spec := r.Status.Former.Spec
	listen, err := c.listenAddress(&spec)
	if err != nil {
		return err
	}
	Change(c, func(r *resources.Rule) { r.Spec, r.Status.ListenAddress, r.Status.Former = spec, listen, nil })
	return nil
}

func applyChangedRule(ctx context.Context, c *Context) error {
	if err := applyToNetwork(ctx, c); err != nil {
		return err
	}
	Change(c, func(r *resources.Rule) { r.Status.Former = nil })
	return nil
}
