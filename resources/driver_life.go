package resources

import (
	"fmt"
	"slices"
	"strings"
)

// DriverStanding is where a version of a driver stands in the zone. It follows from its record: there is none, or it
// is not enabled, or it is.
type DriverStanding string

// The standings. Being the current version is no standing of its own: exactly one version of a product is it.
const (
	DriverAbsent   DriverStanding = "absent"
	DriverDisabled DriverStanding = "disabled"
	DriverEnabled  DriverStanding = "enabled"
)

// DriverStandings returns all of them.
func DriverStandings() []DriverStanding {
	return []DriverStanding{DriverAbsent, DriverDisabled, DriverEnabled}
}

// DriverEvent is something that is asked of a version of a driver.
type DriverEvent string

// The events. An upgrade or a downgrade is a swap to another version.
const (
	DriverInstall     DriverEvent = "install"
	DriverEnable      DriverEvent = "enable"
	DriverDisable     DriverEvent = "disable"
	DriverMakeCurrent DriverEvent = "make current"
	DriverUse         DriverEvent = "use"
	DriverSwapTo      DriverEvent = "swap to"
	DriverUninstall   DriverEvent = "uninstall"
)

// DriverEvents returns all of them.
func DriverEvents() []DriverEvent {
	return []DriverEvent{
		DriverInstall, DriverEnable, DriverDisable, DriverMakeCurrent, DriverUse, DriverSwapTo, DriverUninstall,
	}
}

// MindsUse reports whether it can be refused because of what is bound to a version.
func (e DriverEvent) MindsUse() bool {
	for _, row := range DriverLife() {
		if slices.Contains(row[e].Refused, CodeDriverInUse) {
			return true
		}
	}
	return false
}

// Codes of what refuses an event.
const (
	CodeNotInstalled       = "not-installed"
	CodeVersionTaken       = "version-taken"
	CodeInstalledMeanwhile = "installed-meanwhile" // since it was looked whether it is there
	CodeBuiltIn            = "built-in"
	CodeDriverDisabled     = "driver-disabled"
	CodeDriverInUse        = "driver-in-use"
	CodeDriverRequired     = "driver-required"
	CodeRequirementMissing = "requirement-missing"
	CodeRequirementCycle   = "requirement-cycle"
	CodeSwapUnderWay       = "swap-under-way"
	CodeVersionCurrent     = "version-current"
	CodeVersionQuarantined = "version-quarantined"
)

// DriverCell is what becomes of an event in a standing.
type DriverCell struct {
	// To is the standing afterwards, unless it is refused.
	To DriverStanding
	// Action is what all members do then, in words.
	Action string
	// Refused lists the codes of what refuses it, in the order in which they are looked at.
	Refused []string
}

// DriverLife is the life of a version of a driver of whatever category: what becomes of each event in each standing.
// All that decides about versions goes by it.
func DriverLife() map[DriverStanding]map[DriverEvent]DriverCell {
	const (
		start   = "they get the archive and start it, after what it requires"
		restart = "those that had taken it out of use get it anew"
		stop    = "they drain its calls and end its processes"
		remove  = "they end its processes and remove the archive"
		nothing = "nothing"
	)
	never := func(s DriverStanding, code string) DriverCell {
		return DriverCell{To: s, Action: nothing, Refused: []string{code}}
	}
	leaving := []string{CodeDriverInUse, CodeDriverRequired, CodeSwapUnderWay}
	return map[DriverStanding]map[DriverEvent]DriverCell{
		DriverAbsent: {
			DriverInstall:     {DriverEnabled, start, []string{CodeRequirementCycle, CodeRequirementMissing}},
			DriverEnable:      never(DriverAbsent, CodeNotInstalled),
			DriverDisable:     never(DriverAbsent, CodeNotInstalled),
			DriverMakeCurrent: never(DriverAbsent, CodeNotInstalled),
			DriverUse:         never(DriverAbsent, CodeNotInstalled),
			DriverSwapTo:      never(DriverAbsent, CodeNotInstalled),
			DriverUninstall:   never(DriverAbsent, CodeNotInstalled),
		},
		DriverDisabled: {
			DriverInstall:     {DriverDisabled, restart, []string{CodeVersionTaken}},
			DriverEnable:      {DriverEnabled, start, []string{CodeRequirementCycle, CodeRequirementMissing}},
			DriverDisable:     {DriverDisabled, nothing, nil},
			DriverMakeCurrent: never(DriverDisabled, CodeDriverDisabled),
			DriverUse:         never(DriverDisabled, CodeDriverDisabled),
			DriverSwapTo:      never(DriverDisabled, CodeDriverDisabled),
			DriverUninstall:   {DriverAbsent, remove, append([]string{CodeBuiltIn}, append(leaving, CodeVersionCurrent)...)},
		},
		DriverEnabled: {
			DriverInstall:     {DriverEnabled, restart, []string{CodeVersionTaken}},
			DriverEnable:      {DriverEnabled, nothing, nil},
			DriverDisable:     {DriverDisabled, stop, leaving},
			DriverMakeCurrent: {DriverEnabled, nothing, nil},
			DriverUse:         {DriverEnabled, nothing, nil},
			DriverSwapTo:      {DriverEnabled, nothing, []string{CodeVersionQuarantined}},
			DriverUninstall:   {DriverAbsent, remove, append([]string{CodeBuiltIn}, append(leaving, CodeVersionCurrent)...)},
		},
	}
}

// DriverFacts is what an event is decided by. What nobody looked at is as if it were not so.
type DriverFacts struct {
	// Driver is the record, also of one that is to be installed.
	Driver *Driver
	// There says that the version is installed.
	There bool
	// OtherArchive: it is, from another archive than the one that is to be installed.
	OtherArchive bool
	// Bound lists what is bound to it.
	Bound []Ref
	RequirementVerdict
	// Swap is one under way, from or to it.
	Swap Ref
	// CurrentOfSeveral: it is the current version, and there are others.
	CurrentOfSeveral bool
}

// RequirementVerdict is what it comes to for what requires what if a version is enabled, disabled or removed.
type RequirementVerdict struct {
	// Missing lists what it requires and nothing meets, Cycle the way on which it requires itself, if it is to be
	// enabled.
	Missing []MissingRequirement
	Cycle   []string
	// Broken says of each other version that could be started before and could not be then what it is and why.
	Broken []string
}

// MissingRequirement is a requirement that nothing meets.
type MissingRequirement struct {
	// Index of it among the version's requirements.
	Index int
	DriverRequirement
	// Why nothing meets it, in words.
	Why string
}

// StandingOf is where the version of a record stands; nil = there is none.
func StandingOf(d *Driver) DriverStanding {
	switch {
	case d == nil:
		return DriverAbsent
	case d.Spec.Enabled:
		return DriverEnabled
	}
	return DriverDisabled
}

// Decide says where the version stands after an event, or why that is refused.
func (f *DriverFacts) Decide(event DriverEvent) (DriverStanding, error) {
	from := DriverAbsent
	if f.There {
		from = StandingOf(f.Driver)
	}
	cell := DriverLife()[from][event]
	for _, code := range cell.Refused {
		if f.holds(code) {
			return from, f.refusal(code)
		}
	}
	return cell.To, nil
}

// holds reports whether what a code says is so.
func (f *DriverFacts) holds(code string) bool {
	switch code {
	case CodeNotInstalled:
		return !f.There
	case CodeVersionTaken:
		return f.OtherArchive
	case CodeBuiltIn:
		return f.Driver.Spec.BuiltIn
	case CodeDriverDisabled:
		return !f.Driver.Spec.Enabled
	case CodeDriverInUse:
		return len(f.Bound) > 0
	case CodeDriverRequired:
		return len(f.Broken) > 0
	case CodeRequirementMissing:
		return len(f.Missing) > 0
	case CodeRequirementCycle:
		return len(f.Cycle) > 0
	case CodeSwapUnderWay:
		return !f.Swap.IsZero()
	case CodeVersionCurrent:
		return f.CurrentOfSeveral
	case CodeVersionQuarantined:
		return len(f.Driver.Status.In(TroubleQuarantined)) > 0
	}
	return false
}

// namedUsers is how many of those that stand in the way a refusal names.
const namedUsers = 5

// refusal says what is in the way, and what to do about it.
func (f *DriverFacts) refusal(code string) *Error {
	d := f.Driver
	e := &Error{Class: ClassConflict, Code: code}
	if f.There {
		ref := d.Ref()
		e.Resource = &ref
	}
	name := "driver " + d.VersionName()
	switch code {
	case CodeNotInstalled:
		e.Class, e.Message = ClassNotFound, name+" is not installed"
		e.Remedy = "see \"bulkhead driver list\" for those that are, or install it: bulkhead driver install FILE.car"
	case CodeVersionTaken:
		e.Message = name + " is there already, from another archive"
		e.Remedy = "a version is one archive for ever: ask the vendor for another version, or uninstall that one first"
	case CodeBuiltIn:
		e.Message, e.Remedy = name+" ships with the server", "disable it if nothing is to use it"
	case CodeDriverDisabled:
		e.Message = name + " is disabled"
		e.Remedy = "enable it first (bulkhead driver enable " + d.Name + "), or name another driver"
	case CodeDriverInUse:
		e.Message = fmt.Sprintf("%s bound to %s: %s", counted(len(f.Bound), "resource is", "resources are"), name,
			firstOf(f.Bound, Ref.words))
		e.Remedy = "delete them first, or have another version act for them; to hold work on single ones back, suspend them"
	case CodeDriverRequired:
		e.Message = fmt.Sprintf("%s can't run without %s: %s", counted(len(f.Broken), "driver", "drivers"), name,
			strings.Join(f.Broken, "; "))
		e.Remedy = "disable or uninstall them first, or install another version that they can run with"
	case CodeSwapUnderWay:
		e.Resource = &f.Swap
		e.Message = "swap " + f.Swap.ID + " of " + name + " is under way"
		e.Remedy = "wait until it has ended, or cancel its operation"
	case CodeVersionCurrent:
		e.Message = fmt.Sprintf("%s is the current version of driver %s", d.Spec.Version, d.Spec.Product)
		e.Remedy = "make another version current first: bulkhead driver update ANOTHER --current"
	case CodeVersionQuarantined:
		e.Message = fmt.Sprintf("%s is in quarantine on %s", name, strings.Join(d.Status.In(TroubleQuarantined), ", "))
		e.Remedy = "see who changed its files there, then install the same archive again: the members get it anew"
	default:
		f.requirement(e)
	}
	return e
}

// requirement says what the version requires in vain.
func (f *DriverFacts) requirement(e *Error) {
	if e.Code == CodeRequirementCycle {
		e.Message = "drivers require each other, so that none of them can be the first: " + strings.Join(f.Cycle, " -> ")
		e.Remedy = "ask the vendor for a version of one of them that does not require the next"
		return
	}
	e.Message = "driver " + f.Driver.VersionName() + " requires what is not there"
	var needed []string
	for _, m := range f.Missing {
		needed = append(needed, m.String())
		e.Fields = append(e.Fields, FieldError{
			Pointer: fmt.Sprintf("/spec/requires/%d", m.Index), Code: e.Code,
			Message: "requires driver " + m.String() + ": " + m.Why,
		})
	}
	e.Remedy = "install or enable first: " + strings.Join(needed, ", ")
}

func counted(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

func (r Ref) words() string { return string(r.Kind) + " " + r.ID }

// firstOf names the first of some, and says that there are more.
func firstOf[T any](all []T, name func(T) string) string {
	var names []string
	for _, one := range all[:min(len(all), namedUsers)] {
		names = append(names, name(one))
	}
	if len(all) > len(names) {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}
