package persistence

import (
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// ScopeSwap is where a swap claims the product of its versions, so that there is one at a time.
const ScopeSwap = "swap"

// CodeDriversChanged is the code of a command that was judged by records of drivers that have changed since: see
// Witness.
const CodeDriversChanged = "drivers-changed"

// Witness tells whether any record of a driver changed. What requires what is judged by whoever proposes a command,
// since ranges of versions must not be read differently by programs of two versions; this says by which records.
type Witness struct {
	Count    int    `json:"c"`
	Revision uint64 `json:"r"`
}

// DriversWitness is that of all versions of all drivers. None is changed or made without a revision above all others,
// and none removed without there being one less.
func (v *View) DriversWitness() (w Witness, err error) {
	versions, err := v.Versions("")
	for _, d := range versions {
		w.Count++
		w.Revision = max(w.Revision, d.Revision)
	}
	return w, err
}

// witnessed refuses a command that was judged by other records of drivers than there are.
func (s *Submit) witnessed(t *tx) error {
	if s.Drivers == nil {
		return nil
	}
	now, err := t.DriversWitness()
	if err != nil || now == *s.Drivers {
		return err
	}
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: CodeDriversChanged, Message: "drivers were changed at the same time",
		Remedy: "ask again",
	}
}

// driverFacts gathers what the state says of a version that some events are asked of. What is bound to it is only
// looked for where that decides: there can be millions.
func (v *View) driverFacts(
	d *resources.Driver, judged resources.RequirementVerdict, events ...resources.DriverEvent,
) (*resources.DriverFacts, error) {
	f := &resources.DriverFacts{Driver: d, There: true, RequirementVerdict: judged}
	versions, err := v.Versions(d.Spec.Product)
	if err != nil {
		return nil, err
	}
	current := resources.CurrentDriver(versions)
	f.CurrentOfSeveral = len(versions) > 1 && current != nil && current.ID == d.ID
	if slices.ContainsFunc(events, resources.DriverEvent.MindsUse) {
		if f.Bound, err = v.BoundTo(d); err != nil {
			return nil, err
		}
	}
	f.Swap, err = v.swapOf(d)
	return f, err
}

// swapOf is the swap under way from or to a version.
func (v *View) swapOf(d *resources.Driver) (none resources.Ref, err error) {
	owner, taken, err := v.Claimed(ScopeSwap, d.Spec.Product)
	if err != nil || !taken {
		return none, err
	}
	swap, err := Find[*resources.Swap](v, resources.KindSwap, owner.ID)
	if resources.ClassOf(err) == resources.ClassNotFound {
		return none, nil
	}
	if err != nil || !slices.Contains([]resources.DriverID{swap.Spec.From, swap.Spec.To}, resources.DriverID(d.ID)) {
		return none, err
	}
	return owner, nil
}

// eventsOf says what an update asks of a version.
func eventsOf(was, is *resources.Driver) (events []resources.DriverEvent) {
	for _, asked := range []struct {
		is    bool
		event resources.DriverEvent
	}{
		{is.Spec.Installs > was.Spec.Installs, resources.DriverInstall},
		{is.Spec.Enabled && !was.Spec.Enabled, resources.DriverEnable},
		{!is.Spec.Enabled && was.Spec.Enabled, resources.DriverDisable},
		{is.Spec.Current && !was.Spec.Current, resources.DriverMakeCurrent},
	} {
		if asked.is {
			events = append(events, asked.event)
		}
	}
	return events
}

// MayInstall refuses a new version where it stands, or that is there already: it was installed since somebody looked.
// Judged is what its requirements come to; the state itself does not know that, see Witness.
func (v *View) MayInstall(d *resources.Driver, judged resources.RequirementVerdict) error {
	versions, err := v.Versions(d.Spec.Product)
	if err != nil {
		return err
	}
	facts := &resources.DriverFacts{Driver: d, RequirementVerdict: judged}
	for _, one := range versions {
		if one.Spec.Version != d.Spec.Version {
			continue
		}
		if one.Spec.Digest == d.Spec.Digest {
			return &resources.Error{
				Class: resources.ClassUnavailable, Code: resources.CodeInstalledMeanwhile,
				Message: fmt.Sprintf("driver %s was installed at the same time", d.VersionName()),
				Remedy:  "ask again: it changes nothing then",
			}
		}
		facts = &resources.DriverFacts{Driver: one, There: true, OtherArchive: true}
	}
	_, err = facts.Decide(resources.DriverInstall)
	return err
}

// MayChange refuses an update that a version does not allow where it stands.
func (v *View) MayChange(was, is *resources.Driver, judged resources.RequirementVerdict) error {
	if was.Spec.Current && !is.Spec.Current {
		p := resources.NewProblems("/spec/current")
		p.Add("not-allowed", "can't be taken from a version: make another one of %s current", was.Spec.Product)
		return p.Err()
	}
	events := eventsOf(was, is)
	if len(events) == 0 {
		return nil
	}
	facts, err := v.driverFacts(was, judged, events...)
	if err != nil {
		return err
	}
	for _, event := range events {
		to, err := facts.Decide(event)
		if err != nil {
			return err
		}
		if to != resources.StandingOf(facts.Driver) { // what follows is asked of it as it is then
			facts.Driver = is
		}
	}
	return nil
}

// MayRemove refuses to remove a version where it stands.
func (v *View) MayRemove(d *resources.Driver, judged resources.RequirementVerdict) error {
	facts, err := v.driverFacts(d, judged, resources.DriverUninstall)
	if err == nil {
		_, err = facts.Decide(resources.DriverUninstall)
	}
	return err
}

// MayUse refuses a new resource whose driver does nothing for it.
func (v *View) MayUse(r resources.Resource) error {
	product := r.Facets()["driver"]
	if product == "" || !slices.Contains(resources.Bindable(), r.Metadata().Kind) {
		return nil
	}
	versions, err := v.Versions(product)
	d := resources.CurrentDriver(versions)
	if err != nil || d == nil { // the API says that there is none
		return err
	}
	facts := &resources.DriverFacts{Driver: d, There: true}
	if _, err = facts.Decide(resources.DriverUse); err == nil {
		return nil
	}
	refused := resources.AsError(err)
	refused.Fields = []resources.FieldError{{
		Pointer: "/spec/driver", Code: refused.Code, Message: "names a disabled driver",
	}}
	return refused
}

// mayCreate refuses what the life of a version of a driver does not allow. Programs of before there were versions do
// not know it: they apply the same entries.
func (t *tx) mayCreate(r resources.Resource) error {
	if knows, err := t.Enabled(FeatureDriverVersions); err != nil || !knows {
		return err
	}
	if d, ok := r.(*resources.Driver); ok {
		return t.MayInstall(d, resources.RequirementVerdict{})
	}
	return t.MayUse(r)
}

// mayChange is mayCreate for an update.
func (t *tx) mayChange(current, next resources.Resource) error {
	was, ok := current.(*resources.Driver)
	is, both := next.(*resources.Driver)
	if !ok || !both {
		return nil
	}
	if knows, err := t.Enabled(FeatureDriverVersions); err != nil || !knows {
		return err
	}
	return t.MayChange(was, is, resources.RequirementVerdict{})
}

// mayRemove refuses to remove a version that something is in the way of.
func (t *tx) mayRemove(r resources.Resource) error {
	if d, ok := r.(*resources.Driver); ok {
		return t.MayRemove(d, resources.RequirementVerdict{})
	}
	return nil
}
