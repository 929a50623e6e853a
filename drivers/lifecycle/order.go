package lifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrCycle says that versions need each other, so that none of them can be the first.
var ErrCycle = errors.New("drivers require each other")

// Unit is one version of a driver that is to run.
type Unit struct {
	// Name tells it from all others: "vendor/name 1.2.0".
	Name string
	// Rank is that of its first category: a lower one is started before.
	Rank int
	// Requires names units that run before it, as far as they are of its own rank: those of a lower one do anyway.
	Requires []string
}

// Plan is what can be started, and what can't.
type Plan struct {
	// Start lists the units in the order of their start: by rank, then what is required before what requires it, then by
	// name. It is the same for the same units in whatever order they are given; Stop is its exact reverse.
	Start []Unit
	// Blocked says why a unit is not among them: it is in a cycle, requires what is not there or is of a higher rank, or
	// requires one that is blocked itself. Nothing else is kept from starting.
	Blocked map[string]error
}

// Stop lists the units in the order of their end.
func (p *Plan) Stop() []Unit {
	stop := slices.Clone(p.Start)
	slices.Reverse(stop)
	return stop
}

// Order plans the start of units, whose names are all different.
func Order(units []Unit) *Plan {
	sorted := slices.SortedFunc(slices.Values(units), func(a, b Unit) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), strings.Compare(a.Name, b.Name))
	})
	o := orderer{units: map[string]Unit{}, state: map[string]visit{}, plan: &Plan{Blocked: map[string]error{}}}
	for _, u := range sorted {
		o.units[u.Name] = u
	}
	o.cycles(sorted)
	for _, u := range sorted {
		o.add(u)
	}
	return o.plan
}

type visit int

const (
	unseen visit = iota
	underway
	done
)

type orderer struct {
	units map[string]Unit
	state map[string]visit
	plan  *Plan
}

// cycles blocks those that require themselves, by whatever way, and names the way.
func (o *orderer) cycles(sorted []Unit) {
	for _, u := range sorted {
		if way := o.way(u.Name, u.Name, map[string]bool{}); way != nil {
			o.plan.Blocked[u.Name] = fmt.Errorf("%w: %s", ErrCycle, strings.Join(append([]string{u.Name}, way...), " -> "))
		}
	}
}

// way finds how one unit requires another.
func (o *orderer) way(from, to string, seen map[string]bool) []string {
	for _, next := range slices.Sorted(slices.Values(o.units[from].Requires)) {
		if next == to {
			return []string{to}
		}
		if seen[next] {
			continue
		}
		seen[next] = true
		if rest := o.way(next, to, seen); rest != nil {
			return append([]string{next}, rest...)
		}
	}
	return nil
}

// add puts a unit into the plan, after what it requires.
func (o *orderer) add(u Unit) {
	if o.state[u.Name] != unseen || o.plan.Blocked[u.Name] != nil {
		return
	}
	o.state[u.Name] = underway
	for _, name := range slices.Sorted(slices.Values(u.Requires)) {
		if err := o.require(u, name); err != nil {
			o.plan.Blocked[u.Name] = err
			return
		}
	}
	o.state[u.Name] = done
	o.plan.Start = append(o.plan.Start, u)
}

func (o *orderer) require(u Unit, name string) error {
	needed, there := o.units[name]
	switch {
	case !there:
		return fmt.Errorf("%s requires %s, which is not there", u.Name, name)
	case needed.Rank > u.Rank:
		return fmt.Errorf("%s requires %s, whose category starts after its own", u.Name, name)
	}
	o.add(needed)
	if why := o.plan.Blocked[name]; why != nil {
		return fmt.Errorf("%s requires %s: %w", u.Name, name, why)
	}
	return nil
}
