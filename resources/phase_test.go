package resources_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// transitional reports whether a phase may only last as long as an operation.
func transitional(p resources.Phase) bool {
	return strings.HasSuffix(string(p), "ing") && p != resources.PhaseRunning
}

func TestEveryPhaseHasAWayOut(t *testing.T) {
	for _, d := range resources.Definitions() {
		t.Run(string(d.Kind), func(t *testing.T) {
			for phase, following := range d.Phases {
				for _, next := range following {
					if _, known := d.Phases[next]; !known {
						t.Errorf("%s leads to %s, which is not in the table", phase, next)
					}
				}
				if !leadsToAnEnd(d.Phases, phase, map[resources.Phase]bool{}) {
					t.Errorf("no way leads from %s to an end", phase)
				}
			}
		})
	}
}

func leadsToAnEnd(t resources.Table, from resources.Phase, seen map[resources.Phase]bool) bool {
	if len(t[from]) == 0 {
		return true
	}
	seen[from] = true
	return slices.ContainsFunc(t[from], func(next resources.Phase) bool {
		return !seen[next] && leadsToAnEnd(t, next, seen)
	})
}

func TestActionsGoByTheTable(t *testing.T) {
	for _, d := range resources.Definitions() {
		for name, a := range d.Actions {
			t.Run(string(d.Kind)+"."+name, func(t *testing.T) {
				if a.Name != name || a.Deadline <= 0 || a.Summary == "" || len(a.From) == 0 {
					t.Errorf("incomplete: %+v", a)
				}
				for _, from := range a.From {
					checkAction(t, d, a, from)
				}
			})
		}
	}
}

func checkAction(t *testing.T, d resources.Definition, a resources.Action, from resources.Phase) {
	t.Helper()
	during, after, undone := a.During, a.After, a.Undone
	if during == "" {
		during = from
	}
	if after == "" {
		after = from
	}
	if undone == "" {
		undone = from
	}
	for _, step := range [][2]resources.Phase{{from, during}, {during, after}, {during, undone}} {
		if step[1] == resources.PhaseDeleted && a.Deletes {
			continue // the resource leaves the state
		}
		if !d.Phases.Allows(step[0], step[1]) {
			t.Errorf("from %s it goes %s -> %s, which the table does not allow", from, step[0], step[1])
		}
	}
}

func TestTransitionalPhasesAreThoseOfActions(t *testing.T) {
	for _, d := range resources.Definitions() {
		if d.Kind == resources.KindOperation {
			continue
		}
		during := map[resources.Phase]bool{resources.PhasePending: true}
		for _, a := range d.Actions {
			during[a.During] = true
		}
		simple := resources.NewVocabulary()[resources.KindPool].Phases
		for phase := range d.Phases {
			_, shared := simple[phase]
			if transitional(phase) && !during[phase] && !shared {
				t.Errorf("%s: no action has the transitional phase %s", d.Kind, phase)
			}
		}
	}
}

// What is bound can be moved to another version in any phase that does not end by itself.
func TestRebindingGoesOnInEveryPhaseOfRest(t *testing.T) {
	for _, d := range resources.Definitions() {
		rebind, has := d.Actions["rebind"]
		if !has {
			continue
		}
		for phase := range d.Phases {
			rests := !transitional(phase) && phase != resources.PhaseDeleted
			rests = rests || phase == resources.PhasePending
			if slices.Contains(rebind.From, phase) != rests {
				t.Errorf("%s: rebinding goes on in %v, and it rests in %s: %v", d.Kind, rebind.From, phase, rests)
			}
		}
	}
}

func TestStayingIsAllowedOnlyInKnownPhases(t *testing.T) {
	table := resources.Table{resources.PhaseReady: {}}
	if !table.Allows(resources.PhaseReady, resources.PhaseReady) {
		t.Error("staying ready is refused")
	}
	if table.Allows("odd", "odd") {
		t.Error("staying in an unknown phase is allowed")
	}
}
