package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Version is a version of a driver, as far as the order of start goes by it.
type Version struct {
	Product, Number string
	Rank            int
	Requires        []resources.DriverRequirement
}

// VersionOf is the version of a record.
func VersionOf(d *resources.Driver) Version {
	return Version{
		Product: d.Spec.Product, Number: d.Spec.Version, Rank: rankOf(d.Spec.Categories), Requires: d.Spec.Requires,
	}
}

// Name tells it from all others: it is that of its unit.
func (v Version) Name() string { return v.Product + " " + v.Number }

// rankOf is that of the first category; what has none that is known comes last.
func rankOf(categories []string) int {
	lowest := len(driverpb.Category_value)
	for _, name := range categories {
		name = "CATEGORY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if rank, known := driverpb.Category_value[name]; known {
			lowest = min(lowest, int(rank))
		}
	}
	return lowest
}

// Units makes units of versions: what one requires is the newest version that is in the range. What nothing meets is
// required by the words of the requirement, which no unit is called.
func Units(versions []Version) []Unit {
	units := make([]Unit, len(versions))
	for i, v := range versions {
		units[i] = Unit{Name: v.Name(), Rank: v.Rank}
		for _, r := range v.Requires {
			name := r.String()
			if found, met := Meets(r, versions); met {
				name = found.Name()
			}
			units[i].Requires = append(units[i].Requires, name)
		}
	}
	return units
}

// Meets finds the newest of some versions that is what is required. A version before a release (2.0.0-rc.1) is in a
// range only if the range names one of that release.
func Meets(r resources.DriverRequirement, versions []Version) (newest Version, found bool) {
	within, err := semver.NewConstraint(r.Versions)
	if err != nil {
		return newest, false
	}
	var best *semver.Version
	for _, v := range versions {
		if v.Product != r.Product {
			continue
		}
		number, err := semver.NewVersion(v.Number)
		if err != nil || !within.Check(number) {
			continue
		}
		// Versions that differ in their build alone are equal in rank: the name decides.
		if best == nil || number.GreaterThan(best) || number.Equal(best) && v.Number > newest.Number {
			best, newest, found = number, v, true
		}
	}
	return newest, found
}

// Judge says what it comes to if the record of a version becomes next; one that is to be removed is not enabled in it.
// Records are all that there are.
func Judge(records []*resources.Driver, next *resources.Driver) (verdict resources.RequirementVerdict) {
	others := slices.DeleteFunc(slices.Clone(records), func(d *resources.Driver) bool {
		return d.Spec.Product == next.Spec.Product && d.Spec.Version == next.Spec.Version
	})
	own, after := VersionOf(next), enabled(others)
	if next.Spec.Enabled {
		after = append(after, own)
	}
	was, will := Order(Units(enabled(records))), Order(Units(after))
	for name, why := range will.Blocked {
		if name != own.Name() && was.Blocked[name] == nil {
			verdict.Broken = append(verdict.Broken, why.Error())
		}
	}
	slices.Sort(verdict.Broken)
	why := will.Blocked[own.Name()]
	if why == nil {
		return verdict
	}
	installed := []Version{own}
	for _, d := range others {
		installed = append(installed, VersionOf(d))
	}
	if verdict.Cycle = cycleOf(own, installed); verdict.Cycle == nil {
		verdict.Missing = missing(own, records, after, why)
	}
	return verdict
}

// enabled lists the versions of some records that are to run.
func enabled(records []*resources.Driver) (list []Version) {
	for _, d := range records {
		if d.Spec.Enabled {
			list = append(list, VersionOf(d))
		}
	}
	return list
}

// cycleOf is the way on which a version requires itself if all that are installed run; nil if there is none.
func cycleOf(v Version, installed []Version) []string {
	o := orderer{units: map[string]Unit{}}
	for _, u := range Units(installed) {
		o.units[u.Name] = u
	}
	if way := o.way(v.Name(), v.Name(), map[string]bool{}); way != nil {
		return append([]string{v.Name()}, way...)
	}
	return nil
}

// missing lists the requirements of a version that are not met, each with why.
func missing(
	v Version, records []*resources.Driver, running []Version, why error,
) (list []resources.MissingRequirement) {
	others := Order(Units(running))
	for i, r := range v.Requires {
		m := resources.MissingRequirement{Index: i, DriverRequirement: r}
		found, met := Meets(r, running)
		switch {
		case !met:
			m.Why = Unmet(r, records)
		case found.Rank > v.Rank:
			m.Why = "its category starts after its own"
		case others.Blocked[found.Name()] != nil:
			m.Why = others.Blocked[found.Name()].Error()
		default:
			continue
		}
		list = append(list, m)
	}
	if len(list) == 0 { // what keeps it from starting is none of its own requirements alone
		list = append(list, resources.MissingRequirement{Why: why.Error()})
	}
	return list
}

// Unmet says why none of some records is what is required.
func Unmet(r resources.DriverRequirement, records []*resources.Driver) string {
	var off, others []string
	for _, d := range records {
		if d.Spec.Product != r.Product {
			continue
		}
		if _, in := Meets(r, []Version{VersionOf(d)}); !in {
			others = append(others, d.Spec.Version)
		} else if !d.Spec.Enabled {
			off = append(off, d.Spec.Version)
		}
	}
	slices.Sort(off)
	slices.Sort(others)
	switch {
	case len(off) > 0:
		return fmt.Sprintf("version %s would do, and is disabled", strings.Join(off, ", "))
	case len(others) > 0:
		return fmt.Sprintf("installed is %s, which is not in that range", strings.Join(others, ", "))
	}
	return "no version of it is installed"
}
