package resources_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// standing is the facts of a version that nothing is in the way of.
func standing(s resources.DriverStanding) *resources.DriverFacts {
	return &resources.DriverFacts{There: s != resources.DriverAbsent, Driver: &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, ID: "drv-1", Name: "example.shelf-1.4.0"},
		Spec: resources.DriverSpec{
			Product: "example/shelf", Version: "1.4.0", Enabled: s == resources.DriverEnabled || s == resources.DriverAbsent,
		},
	}}
}

// obstacles makes each fact that can be in the way so, and says which words the refusal must have.
func obstacles() map[string]struct {
	make  func(f *resources.DriverFacts)
	words []string
} {
	type obstacle = struct {
		make  func(f *resources.DriverFacts)
		words []string
	}
	bound := []resources.Ref{}
	for i := range 7 {
		bound = append(bound, resources.Ref{Kind: resources.KindPool, ID: fmt.Sprintf("pol-%d", i)})
	}
	return map[string]obstacle{
		resources.CodeVersionTaken: {func(f *resources.DriverFacts) { f.OtherArchive = true }, []string{"another archive"}},
		resources.CodeBuiltIn: {
			func(f *resources.DriverFacts) { f.Driver.Spec.BuiltIn = true }, []string{"ships with the server"},
		},
		resources.CodeDriverInUse: {
			func(f *resources.DriverFacts) { f.Bound = bound }, []string{"7 resources", "pool pol-0", "pool pol-4, ..."},
		},
		resources.CodeDriverRequired: {func(f *resources.DriverFacts) {
			f.Broken = []string{"a/b 1.0.0 requires example/shelf >=1, which is not there"}
		}, []string{"1 driver can't", "a/b 1.0.0 requires"}},
		resources.CodeRequirementMissing: {func(f *resources.DriverFacts) {
			f.Missing = []resources.MissingRequirement{{
				Index: 2, Why: "no version of it is installed",
				DriverRequirement: resources.DriverRequirement{Product: "c/d", Versions: ">=2"},
			}}
		}, []string{"c/d >=2", "no version of it is installed"}},
		resources.CodeRequirementCycle: {
			func(f *resources.DriverFacts) { f.Cycle = []string{"a/b 1", "c/d 2", "a/b 1"} },
			[]string{"a/b 1 -> c/d 2 -> a/b 1"},
		},
		resources.CodeSwapUnderWay: {
			func(f *resources.DriverFacts) { f.Swap = resources.Ref{Kind: resources.KindSwap, ID: "swp-1"} },
			[]string{"swap swp-1"},
		},
		resources.CodeVersionCurrent: {
			func(f *resources.DriverFacts) { f.CurrentOfSeveral = true }, []string{"current version"},
		},
		resources.CodeVersionQuarantined: {func(f *resources.DriverFacts) {
			f.Driver.Status.Troubles = []resources.DriverTrouble{
				{Node: "n1", State: resources.TroubleBlocked}, {Node: "n2", State: resources.TroubleQuarantined},
			}
		}, []string{"quarantine on n2"}},
	}
}

// outcomes is what the table is to say, written down a second time: where it goes and what refuses it.
const outcomes = `
- absent install -> enabled requirement-cycle requirement-missing
- absent enable -> absent not-installed
- absent disable -> absent not-installed
- absent make-current -> absent not-installed
- absent use -> absent not-installed
- absent swap-to -> absent not-installed
- absent uninstall -> absent not-installed
- disabled install -> disabled version-taken
- disabled enable -> enabled requirement-cycle requirement-missing
- disabled disable -> disabled
- disabled make-current -> disabled driver-disabled
- disabled use -> disabled driver-disabled
- disabled swap-to -> disabled driver-disabled
- disabled uninstall -> absent built-in driver-in-use driver-required swap-under-way version-current
- enabled install -> enabled version-taken
- enabled enable -> enabled
- enabled disable -> disabled driver-in-use driver-required swap-under-way
- enabled make-current -> enabled
- enabled use -> enabled
- enabled swap-to -> enabled version-quarantined
- enabled uninstall -> absent built-in driver-in-use driver-required swap-under-way version-current
`

func TestEveryCellOfTheLifeOfAVersion(t *testing.T) {
	cells := 0
	for line := range strings.Lines(strings.TrimSpace(outcomes)) {
		words := strings.Fields(strings.TrimPrefix(line, "- "))
		from, to := resources.DriverStanding(words[0]), resources.DriverStanding(words[3])
		event, refusals := resources.DriverEvent(strings.ReplaceAll(words[1], "-", " ")), words[4:]
		cells++
		t.Run(words[0]+"/"+words[1], func(t *testing.T) { checkCell(t, from, event, to, refusals) })
	}
	if all := len(resources.DriverStandings()) * len(resources.DriverEvents()); cells != all {
		t.Errorf("%d cells are checked of %d", cells, all)
	}
}

func checkCell(
	t *testing.T, from resources.DriverStanding, event resources.DriverEvent, to resources.DriverStanding,
	refusals []string,
) {
	t.Helper()
	always := []string{resources.CodeNotInstalled, resources.CodeDriverDisabled} // follow from the standing
	got, err := standing(from).Decide(event)
	if len(refusals) == 1 && slices.Contains(always, refusals[0]) {
		if e := resources.AsError(err); e == nil || e.Code != refusals[0] || e.Remedy == "" || got != from {
			t.Errorf("it is %s, %+v", got, e)
		}
		return
	}
	if err != nil || got != to {
		t.Errorf("with nothing in the way it goes to %s, %v; want %s", got, err, to)
	}
	all := standing(from)
	for code, one := range obstacles() {
		facts := standing(from)
		one.make(facts)
		one.make(all)
		got, err := facts.Decide(event)
		if !slices.Contains(refusals, code) {
			if err != nil || got != to {
				t.Errorf("%s is in its way: %v", code, err)
			}
			continue
		}
		e := resources.AsError(err)
		if e == nil || e.Code != code || e.Class != resources.ClassConflict || e.Remedy == "" || got != from {
			t.Errorf("with %s it is %s, %+v", code, got, e)
			continue
		}
		for _, words := range one.words {
			if !strings.Contains(e.Error(), words) {
				t.Errorf("%s does not say %q: %v", code, words, e)
			}
		}
	}
	if len(refusals) > 0 { // of several, the first is told
		if _, err := all.Decide(event); resources.AsError(err).Code != refusals[0] {
			t.Errorf("with all in the way it says %v", err)
		}
	}
}

func TestAMissingRequirementNamesItsField(t *testing.T) {
	facts := standing(resources.DriverDisabled)
	obstacles()[resources.CodeRequirementMissing].make(facts)
	_, err := facts.Decide(resources.DriverEnable)
	e := resources.AsError(err)
	if len(e.Fields) != 1 || e.Fields[0].Pointer != "/spec/requires/2" || !strings.Contains(e.Remedy, "c/d >=2") {
		t.Errorf("got %+v", e)
	}
}
