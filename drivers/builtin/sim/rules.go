package sim

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// ApplyRules implements driverpb.NetworksServer.
func (n *networks) ApplyRules(ctx context.Context, r *driverpb.RulesRequest) (*driverpb.OutcomeReply, error) {
	// The set belongs to a network: it is the call's resource, or named beside it.
	key := simworld.Key{Kind: simworld.KindNetwork, ID: r.GetNetwork().GetResource().GetId()}
	if key.ID == "" {
		key.ID = r.GetCall().GetResource().GetId()
	}
	texts := make([]string, len(r.GetRules()))
	for i, rule := range r.GetRules() {
		if err := checkRule(rule); err != nil {
			return nil, err
		}
		text, err := protojson.Marshal(rule)
		if err != nil {
			return nil, sdk.Internal("encoding-rule", err)
		}
		texts[i] = string(text)
	}
	return act(ctx, n.driver, "ApplyRules", r.GetCall(), func(tx *simworld.Tx) (*driverpb.OutcomeReply, error) {
		o, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		if o.Detail == nil {
			o.Detail = &simworld.Detail{}
		}
		reply := func() *driverpb.OutcomeReply { return &driverpb.OutcomeReply{Handle: handleOf(o)} }
		if slices.Equal(o.Detail.Rules, texts) {
			return reply(), nil
		}
		o.Detail.Rules = texts
		return answer(tx.Change("apply-rules", &o), reply)
	})
}

// checkRule refuses a rule that can't be applied.
func checkRule(rule *driverpb.Rule) error {
	bad := func(field, why string) error {
		return sdk.Invalid("bad-rule", field, "rule "+rule.GetResource().GetId()+": "+why, "")
	}
	switch {
	case !slices.Contains([]string{"ingress", "egress", "port-forward"}, rule.GetType()):
		return bad("/type", "want ingress, egress or port-forward")
	case !slices.Contains([]string{"tcp", "udp", "icmp", "any"}, rule.GetProtocol()):
		return bad("/protocol", "want tcp, udp, icmp or any")
	case rule.GetPortFrom() > 65535:
		return bad("/ports", "ports end at 65535")
	case rule.GetPortTo() > 65535 || rule.GetPortTo() != 0 && rule.GetPortTo() < rule.GetPortFrom():
		return bad("/ports", "the second port must lie between the first and 65535")
	}
	for i, cidr := range rule.GetCidrs() {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			return bad(fmt.Sprintf("/cidrs/%d", i), "want a network such as 192.0.2.0/24")
		}
	}
	if rule.GetType() == "port-forward" {
		return checkForward(rule, bad)
	}
	if !slices.Contains([]string{"allow", "deny"}, rule.GetAction()) {
		return bad("/action", "want allow or deny")
	}
	return nil
}

func checkForward(rule *driverpb.Rule, bad func(field, why string) error) error {
	port := func(n uint32) bool { return n >= 1 && n <= 65535 }
	switch {
	case !slices.Contains([]string{"tcp", "udp"}, rule.GetProtocol()):
		return bad("/protocol", "a port forward is for tcp or udp")
	case !port(rule.GetListenPort()):
		return bad("/listenPort", "want a port from 1 to 65535")
	case !port(rule.GetTargetPort()):
		return bad("/targetPort", "want a port from 1 to 65535")
	}
	if _, err := netip.ParseAddr(rule.GetTargetAddress()); err != nil {
		return bad("/nicId", "want the address of a guest")
	}
	if rule.GetListenAddress() == "" {
		return nil
	}
	if _, err := netip.ParseAddr(rule.GetListenAddress()); err != nil {
		return bad("/listenAddress", "want an address, or nothing")
	}
	return nil
}
