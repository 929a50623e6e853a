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
		{
			Kind: resources.KindNetwork, Action: "apply-rules", Internal: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				return create(rule(z.Must(network())))
			},
		},
		{Kind: resources.KindNic, Action: "create", Internal: true, Prepare: attachNic},
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
