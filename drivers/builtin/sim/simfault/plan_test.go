package simfault_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
)

// memory is a ledger in memory.
type memory map[string]uint64

func (m memory) Fire(rule simfault.Rule, limit uint64, _ simfault.Subject) (bool, error) {
	if limit > 0 && m[rule.String()] >= limit {
		return false, nil
	}
	m[rule.String()]++
	return true, nil
}

func parse(tb testing.TB, text string) []simfault.Rule {
	tb.Helper()
	rules, err := simfault.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return rules
}

// firings tells at which of n matches a rule fires.
func firings(tb testing.TB, plan *simfault.Plan, ledger simfault.Ledger, n int) []int {
	tb.Helper()
	var at []int
	for i := range n {
		fired, err := plan.Take(simfault.Subject{Call: "CreateVolume", Kind: "volume", Resource: "vol-1"}, ledger)
		if err != nil {
			tb.Fatal(err)
		}
		if len(fired) > 0 {
			at = append(at, i+1)
		}
	}
	return at
}

func TestPlanCounts(t *testing.T) {
	for _, test := range []struct {
		text string
		want []int
	}{
		{"action=hang", []int{1, 2, 3, 4, 5, 6}},
		{"nth=3 action=hang", []int{3}},
		{"every=2 action=hang", []int{2, 4, 6}},
		{"every=2 times=2 action=hang", []int{2, 4}},
		{"times=1 action=hang", []int{1}},
		{"prob=1 action=hang", []int{1, 2, 3, 4, 5, 6}},
		{"call=Delete* action=hang", nil},
		{"kind=volume resource=vol-* call=*Volume action=hang times=1", []int{1}},
	} {
		if got := firings(t, simfault.NewPlan(parse(t, test.text)), memory{}, 6); !slices.Equal(got, test.want) {
			t.Errorf("%s: fired at %v, want %v", test.text, got, test.want)
		}
	}
}

func TestPlanAfterARestartDoesNotFireAgain(t *testing.T) {
	rules, ledger := parse(t, "nth=2 action=crash-before-effect"), memory{}
	if got := firings(t, simfault.NewPlan(rules), ledger, 3); !slices.Equal(got, []int{2}) {
		t.Fatalf("fired at %v, want 2", got)
	}
	if got := firings(t, simfault.NewPlan(rules), ledger, 3); got != nil {
		t.Errorf("fired at %v in the second process, want never", got)
	}
}

func TestPlanKeepsCountersWhenReplaced(t *testing.T) {
	rules, ledger := parse(t, "every=3 action=hang"), memory{}
	plan := simfault.NewPlan(rules)
	firings(t, plan, ledger, 2)
	plan.Replace(append(parse(t, "call=Other action=hang"), rules...))
	if got := firings(t, plan, ledger, 2); !slices.Equal(got, []int{1}) {
		t.Errorf("fired at %v after the replacement, want 1", got)
	}
}

func TestPlanForgetsWhatIsRemoved(t *testing.T) {
	plan := simfault.NewPlan(nil)
	remove := plan.Add(simfault.Rule{Action: simfault.Hang})
	if plan.Empty() || firings(t, plan, memory{}, 1) == nil {
		t.Error("an added rule does not fire")
	}
	remove()
	remove()
	if !plan.Empty() || firings(t, plan, memory{}, 1) != nil {
		t.Error("a removed rule fires")
	}
}

func TestChanceFollowsTheSeed(t *testing.T) {
	a := firings(t, simfault.NewPlan(parse(t, "prob=0.3 seed=5 action=hang")), memory{}, 1000)
	b := firings(t, simfault.NewPlan(parse(t, "prob=0.3 seed=5 action=hang")), memory{}, 1000)
	if !slices.Equal(a, b) {
		t.Error("one seed, two series")
	}
	if len(a) < 240 || len(a) > 360 {
		t.Errorf("%d of 1000 fired, want about 300", len(a))
	}
}

type brokenLedger struct{ err error }

func (b brokenLedger) Fire(simfault.Rule, uint64, simfault.Subject) (bool, error) {
	return false, b.err
}

func TestPlanReportsABrokenLedger(t *testing.T) {
	want := errors.New("disk gone")
	_, err := simfault.NewPlan(parse(t, "action=hang")).Take(simfault.Subject{}, brokenLedger{want})
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// TestGlobs compares with the obvious recursive definition.
func TestGlobs(t *testing.T) {
	var matches func(p, s string) bool
	matches = func(p, s string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			return matches(p[1:], s) || s != "" && matches(p, s[1:])
		case s == "":
			return false
		}
		return (p[0] == '?' || p[0] == s[0]) && matches(p[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab/*?]{1,8}`).Draw(t, "pattern")
		text := rapid.StringMatching(`[ab/]{0,10}`).Draw(t, "text")
		rule := simfault.Rule{Token: pattern}
		if got, want := rule.Matches(simfault.Subject{Token: text}), matches(pattern, text); got != want {
			t.Fatalf("%s on %q: got %v, want %v", pattern, text, got, want)
		}
	})
}
