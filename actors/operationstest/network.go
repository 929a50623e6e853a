package operationstest

import (
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func networkScenarios() []Scenario {
	return []Scenario{
		{Kind: resources.KindNetwork, Action: "create", Prepare: func(*actorstest.Zone) resources.Submission {
			return create(network())
		}},
		{
			Kind: resources.KindNetwork, Action: "delete", Irreversible: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				return do(resources.KindNetwork, z.Must(network()), "delete", resources.Arguments{})
			},
		},
		{Kind: resources.KindRule, Action: "create", Prepare: func(z *actorstest.Zone) resources.Submission {
			return create(rule(z.Must(network())))
		}},
		{Kind: resources.KindRule, Action: "delete", Prepare: func(z *actorstest.Zone) resources.Submission {
			return do(resources.KindRule, z.Must(rule(z.Must(network()))), "delete", resources.Arguments{})
		}},
		{Kind: resources.KindRule, Action: "update", Prepare: updateRule},
		{Kind: resources.KindNetwork, Action: "update", Prepare: updateNetwork},
		{
			Kind: resources.KindNetwork, Action: "apply-rules", Internal: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				return create(rule(z.Must(network())))
			},
		},
		{Kind: resources.KindNic, Action: "create", Internal: true, Prepare: attachNic},
		{Kind: resources.KindNic, Action: "attach", Internal: true, Irreversible: true, Prepare: detachWithForward},
		{Kind: resources.KindNic, Action: "delete", Internal: true, Irreversible: true, Prepare: detachNic},
	}
}

func rule(network string) *resources.Rule {
	return &resources.Rule{
		Meta: resources.Meta{Kind: resources.KindRule},
		Spec: resources.RuleSpec{
			NetworkID: resources.NetworkID(network), Type: "ingress", Protocol: "tcp", Ports: "80",
		},
	}
}

// updateRule opens another port; another rule stays as it is.
func updateRule(z *actorstest.Zone) resources.Submission {
	net := z.Must(network())
	z.Must(rule(net))
	r := actorstest.Get[*resources.Rule](z, resources.KindRule, z.Must(rule(net)))
	r.Spec.Ports, r.Spec.CIDRs, r.Spec.Priority = "8000-8080", []string{"192.0.2.0/24"}, 7
	return update(r)
}

func updateNetwork(z *actorstest.Zone) resources.Submission {
	n := network()
	n.Spec.DNSServers = []string{"192.0.2.53"}
	n = actorstest.Get[*resources.Network](z, resources.KindNetwork, z.Must(n))
	n.Spec.DNSServers = []string{"192.0.2.54", "192.0.2.55"}
	return update(n)
}
