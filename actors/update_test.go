package actors_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// inZone runs a test in a zone with fake time.
func inZone(t *testing.T, test func(t *testing.T, z *actorstest.Zone)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(10 * time.Second) }) // the actor library's own timers
		test(t, actorstest.New(t))
	})
}

// inject has the simulator misbehave by a rule of simfault, until the test ends or
// the function returned is called.
func inject(t *testing.T, z *actorstest.Zone, rule string) (remove func()) {
	t.Helper()
	rules, err := simfault.Parse(rule)
	if err != nil || len(rules) != 1 {
		t.Fatalf("reading %q: %v", rule, err)
	}
	remove, err = z.World.Inject(rules[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	return remove
}

func aRule(z *actorstest.Zone) *resources.Rule {
	network := z.Must(&resources.Network{
		Meta: resources.Meta{Kind: resources.KindNetwork, Name: "net"},
		Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.20.0.0/24"},
	})
	id := z.Must(&resources.Rule{
		Meta: resources.Meta{Kind: resources.KindRule},
		Spec: resources.RuleSpec{NetworkID: resources.NetworkID(network), Type: "ingress", Protocol: "tcp", Ports: "80"},
	})
	return actorstest.Get[*resources.Rule](z, resources.KindRule, id)
}

// changing asks for a change of a rule as it was read.
func changing(r *resources.Rule, change func(r *resources.Rule)) resources.Submission {
	next := *r
	change(&next)
	return resources.Submission{Action: "update", Target: r.Ref(), Resource: &next, IfRevision: r.Revision}
}

// Two changes that were both made of the rule as it was first: neither takes the
// other one back.
func TestChangesInTheQueueAddUp(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		r := aRule(z)
		if _, err := z.Engine().Suspend(t.Context(), r.Ref(), true, resources.Origin{}); err != nil {
			t.Fatal(err)
		}
		r = actorstest.Get[*resources.Rule](z, resources.KindRule, r.ID)
		one := z.Submit(changing(r, func(r *resources.Rule) { r.Spec.Ports = "81" }))
		two := z.Submit(changing(r, func(r *resources.Rule) { r.Spec.CIDRs = []string{"192.0.2.0/24"} }))
		if now := actorstest.Get[*resources.Rule](z, resources.KindRule, r.ID); now.Spec.Ports != "80" {
			t.Errorf("changed before its turn: %+v", now.Spec)
		}
		if _, err := z.Engine().Suspend(t.Context(), r.Ref(), false, resources.Origin{}); err != nil {
			t.Fatal(err)
		}
		for _, op := range []*resources.Operation{one, two} {
			if ended := z.Wait(op.ID); ended.Phase != resources.PhaseSucceeded {
				t.Errorf("%s: %v", ended.Phase, ended.Error)
			}
		}
		now := actorstest.Get[*resources.Rule](z, resources.KindRule, r.ID)
		if now.Spec.Ports != "81" || !slices.Equal(now.Spec.CIDRs, []string{"192.0.2.0/24"}) || now.Status.Former != nil {
			t.Errorf("after both: %+v %+v", now.Spec, now.Status)
		}
		z.CheckTruth()
	})
}

func TestNameAndLabelsChangeAtOnceAndAloneNeedNoWork(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		r := aRule(z)
		op := z.Submit(changing(r, func(r *resources.Rule) { r.Labels = map[string]string{"tier": "web"} }))
		if op.Phase != resources.PhaseSucceeded || len(op.Steps) != 0 {
			t.Errorf("labels alone: %s %v", op.Phase, op.Steps)
		}
		r = actorstest.Get[*resources.Rule](z, resources.KindRule, r.ID)
		op = z.Submit(changing(r, func(r *resources.Rule) {
			r.Name, r.Spec.Ports = "web", "" // all ports
		}))
		if now := actorstest.Get[*resources.Rule](z, resources.KindRule, r.ID); now.Name != "web" {
			t.Errorf("the name is %q when the change is accepted", now.Name)
		}
		z.Wait(op.ID)
		now := actorstest.Get[*resources.Rule](z, resources.KindRule, r.ID)
		if now.Name != "web" || now.Labels["tier"] != "web" || now.Spec.Ports != "" || now.Phase != resources.PhaseReady {
			t.Errorf("afterwards: %+v", now)
		}
		z.CheckTruth()
	})
}

func TestWhatADriverRefusesIsNotChanged(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		r := aRule(z)
		inject(t, z, "call=ApplyRules times=1 action=error class=invalid code=too-wild")
		op := z.Ask(changing(r, func(r *resources.Rule) { r.Spec.Action = "deny" }))
		if op.Phase != resources.PhaseFailed || op.Error == nil || op.Error.Code != "too-wild" {
			t.Errorf("ended as %s: %v", op.Phase, op.Error)
		}
		now := actorstest.Get[*resources.Rule](z, resources.KindRule, r.ID)
		if now.Spec.Action != "" || now.Phase != resources.PhaseReady {
			t.Errorf("afterwards: %+v", now)
		}
		z.CheckTruth()
	})
}

func TestWhatIsFixedIsNamed(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		r := aRule(z)
		_, err := z.Engine().Submit(t.Context(), changing(r, func(r *resources.Rule) { r.Spec.Type = "egress" }))
		if e := resources.AsError(err); e.Class != resources.ClassInvalid || len(e.Fields) != 1 ||
			e.Fields[0].Pointer != "/spec/type" || e.Fields[0].Code != "immutable" {
			t.Errorf("another type: %+v", err)
		}
		n := *actorstest.Get[*resources.Network](z, resources.KindNetwork, string(r.Spec.NetworkID))
		n.Spec.CIDR = "10.30.0.0/24"
		_, err = z.Engine().Submit(t.Context(), resources.Submission{Action: "update", Target: n.Ref(), Resource: &n})
		if e := resources.AsError(err); e.Class != resources.ClassInvalid || e.Fields[0].Pointer != "/spec/cidr" {
			t.Errorf("another range: %+v", err)
		}
	})
}

func TestAFailedRuleIsNotPutInForceByAChange(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		r := aRule(z)
		inject(t, z, "call=ApplyRules times=1 action=error class=invalid code=too-wild")
		op := z.Create(&resources.Rule{
			Meta: resources.Meta{Kind: resources.KindRule},
			Spec: resources.RuleSpec{NetworkID: r.Spec.NetworkID, Type: "egress", Protocol: "tcp", Ports: "80"},
		})
		if op.Phase != resources.PhaseFailed {
			t.Fatalf("a rule that the driver refuses ended as %s", op.Phase)
		}
		failed := actorstest.Get[*resources.Rule](z, resources.KindRule, op.Target.ID)
		_, err := z.Engine().Submit(t.Context(), changing(failed, func(r *resources.Rule) { r.Spec.Ports = "81" }))
		if resources.ClassOf(err) != resources.ClassConflict {
			t.Errorf("changing a failed rule: %v", err)
		}
	})
}

// TestARepetitionIsNotCheckedAgain submits with the key of an address whose network
// is gone since.
func TestARepetitionIsNotCheckedAgain(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		network := z.Must(&resources.Network{
			Meta: resources.Meta{Kind: resources.KindNetwork, Name: "net"},
			Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.20.0.0/24"},
		})
		s := resources.Submission{
			Action: "create", Target: resources.Ref{Kind: resources.KindAddress}, IdempotencyKey: "k", Fingerprint: []byte("f"),
			Resource: &resources.Address{
				Meta: resources.Meta{Kind: resources.KindAddress},
				Spec: resources.AddressSpec{NetworkID: resources.NetworkID(network)},
			},
		}
		first := z.Ask(s)
		for _, ref := range []resources.Ref{first.Target, {Kind: resources.KindNetwork, ID: network}} {
			if op := z.Do(ref, "delete", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
				t.Fatalf("deleting %s: %v", ref, op.Error)
			}
		}
		if again := z.Submit(s); again.ID != first.ID {
			t.Errorf("answered with %s, first %s", again.ID, first.ID)
		}
		s.Fingerprint = []byte("g")
		if _, err := z.Engine().Submit(t.Context(), s); resources.AsError(err).Code != "idempotency-key-reused" {
			t.Errorf("another request with the key: %v", err)
		}
	})
}

// The set of rules is more than one operation's: what is tried again may find another set, which is no other request by
// the same token to the driver.
func TestRulesTriedAgainAreThoseOfNow(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		first := aRule(z)
		inject(t, z, "call=ApplyRules times=1 action=error class=transient code=busy")
		rule := func(ports string) resources.Submission {
			kind := resources.KindRule
			return resources.Submission{Action: "create", Target: resources.Ref{Kind: kind}, Resource: &resources.Rule{
				Meta: resources.Meta{Kind: kind},
				Spec: resources.RuleSpec{NetworkID: first.Spec.NetworkID, Type: "ingress", Protocol: "tcp", Ports: ports},
			}}
		}
		one := z.Submit(rule("81"))
		synctest.Wait() // the first attempt has failed and waits for its next one
		two := z.Submit(rule("82"))
		for _, op := range []*resources.Operation{one, two} {
			if ended := z.Wait(op.ID); ended.Phase != resources.PhaseSucceeded {
				t.Errorf("%s: %v", ended.Phase, ended.Error)
			}
		}
		z.CheckTruth()
	})
}
