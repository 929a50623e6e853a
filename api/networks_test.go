package api_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestRulesAndNetworksChange(t *testing.T) {
	s := newSite(t)
	w := s.build()
	patch := func(path, body string) *answer {
		return s.do(request{method: "PATCH", path: path, as: operator, body: body})
	}
	rule, network := "/v1/rules/"+w[resources.KindRule], "/v1/networks/"+w[resources.KindNetwork]
	patch(rule, `{"spec":{"ports":"81","cidrs":["192.0.2.0/24"],"priority":9,"action":"deny"}}`).want(202)
	all := s.zone.Submissions()
	last := all[len(all)-1]
	spec := last.Resource.(*resources.Rule).Spec
	if last.Action != "update" || last.IfRevision == 0 || spec.Ports != "81" || spec.Priority != 9 ||
		spec.Action != "deny" || len(spec.CIDRs) != 1 || string(spec.NetworkID) != w[resources.KindNetwork] {
		t.Errorf("submitted %+v with %+v", last, spec)
	}
	patch(rule, `{"spec":{"ports":"81-80"}}`).problem(422, "validation-failed").field("body", "/spec/ports", "bad-ports")
	patch(rule, `{"spec":{"type":"egress"}}`).problem(422, "validation-failed").field("body", "/spec/type", "immutable")
	patch(rule, `{"spec":{"networkId":"`+w[resources.KindNetwork]+`"}}`).problem(422, "validation-failed").
		field("body", "/spec/networkId", "immutable")
	patch(rule, `{"spec":{"nicId":"nic`+tailOfNothing+`"}}`).problem(422, "validation-failed").
		field("body", "/spec/nicId", "not-found")
	patch(network, `{"spec":{"dnsServers":["192.0.2.53"]}}`).want(202)
	patch(network, `{"spec":{"dnsServers":["somewhere"]}}`).problem(422, "validation-failed").
		field("body", "/spec/dnsServers/0", "bad-address")
	for _, field := range []string{"cidr", "gateway", "domain", "mtu", "noDhcp", "noDns", "mode", "driver"} {
		value := `"x"`
		patch(network, `{"spec":{"`+field+`":`+value+`}}`).problem(422, "validation-failed").
			field("body", "/spec/"+field, "immutable")
	}
}
