package operations

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// propertyChanges says what becomes of the properties. What a version said that makes no sense was refused when it
// said it.
func propertyChanges(s swap) property.Diff {
	before, err := property.Compile(s.from.Status.Properties)
	if err != nil {
		return nil
	}
	after, err := property.Compile(s.to.Status.Properties)
	if err != nil {
		return nil
	}
	return property.Compare(before, after)
}

// needsInput lists the driver-wide settings that must be given before the new version can act, and were not.
func needsInput(s swap) (names []string) {
	for _, p := range s.to.Status.Properties {
		_, given := s.to.Spec.Properties[p.Key]
		_, hidden := s.to.Spec.Secrets[p.Key]
		if p.Scope == property.ScopeDriver && p.Required && p.Default == nil && !given && !hidden {
			names = append(names, p.Key)
		}
	}
	return names
}

// unfit is what the new version of a swap would find amiss in the settings of resources. What is missing must be given
// before it begins: whatever an installed version describes can be. What has a value that is refused goes on having it
// until the new version acts, which alone says what is good.
type unfit struct {
	view             *persistence.View
	sheet            *property.Descriptor
	changes          map[[2]string]property.Change // by scope and key, of those that may make something amiss
	seen             map[resources.Ref]bool
	missing, refused fewNamed
}

// unfitSettings looks at nothing if all that was good stays good.
func unfitSettings(v *persistence.View, s swap, changes property.Diff) *unfit {
	u := &unfit{view: v, changes: map[[2]string]property.Change{}, seen: map[resources.Ref]bool{}}
	for _, c := range changes {
		if c.Scope != property.ScopeDriver && (c.NeedsInput || c.Stricter) {
			u.changes[[2]string{c.Scope, c.Key}] = c
		}
	}
	if len(u.changes) == 0 {
		return u
	}
	if sheet, err := property.Compile(s.to.Status.Properties); err == nil { // else it was refused when it was said
		u.sheet = sheet
	}
	return u
}

// look looks at a resource, and at what it is in or on, whose settings come with each call about it.
func (u *unfit) look(r resources.Resource) error {
	if u.sheet == nil || r.Metadata().Suspended { // which stays with the version of before
		return nil
	}
	u.settings(r)
	owner := resources.OwnerOf(r)
	if owner == r.Metadata().Ref() || u.seen[owner] {
		return nil
	}
	of, err := u.view.Get(owner)
	if err != nil {
		return unlessGone(err)
	}
	u.settings(of)
	return nil
}

func (u *unfit) settings(r resources.Resource) {
	ref := r.Metadata().Ref()
	if u.seen[ref] {
		return
	}
	u.seen[ref] = true
	given := map[string]any{}
	for _, s := range resources.SettingsOf(r) {
		if s.At == "" && s.Scope == ref.Kind {
			given = property.WithUnseen(s.Values)
		}
	}
	err := u.sheet.Validate(property.Values{Scope: string(ref.Kind), Given: given, Before: given})
	e, bad := errors.AsType[*resources.Error](err)
	if !bad {
		return
	}
	for _, f := range e.Fields {
		key := strings.TrimPrefix(f.Pointer, "/")
		change, ours := u.changes[[2]string{string(ref.Kind), key}]
		switch missing := f.Code == property.CodeRequired; {
		case !ours, missing && !change.NeedsInput:
		case missing && slices.Contains(resources.Bindable(), ref.Kind):
			u.missing.add(fmt.Sprintf("%s/%s of %s", ref.Kind, key, ref.ID))
		default: // among them what is missing where settings can't be changed
			u.refused.add(fmt.Sprintf("! %s: %s", ref, f.Message))
		}
	}
}

// fewNamed are sentences of which only so many are said.
type fewNamed struct {
	said []string
	more int
}

func (f *fewNamed) add(one string) {
	if len(f.said) == namedStays {
		f.more++
		return
	}
	f.said = append(f.said, one)
}

func (f *fewNamed) list() []string {
	if f.more == 0 {
		return f.said
	}
	return append(slices.Clone(f.said), fmt.Sprintf("and %d more", f.more))
}
