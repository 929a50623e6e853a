package resources

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// variantMark begins the label of a variant that nobody named.
const variantMark = "set"

// Variant is the record of the same version with other settings, beside the others of its product: the same program, in
// a process of its own. Its version is that of the program with the label behind it, as build metadata (SemVer 2.0.0,
// section 10): 1.2.0+LABEL. With no label it gets the first one that is free, with no name that of the version and the
// label.
func (d *Driver) Variant(label, name string, properties map[string]any, versions []*Driver) (*Driver, error) {
	if d.Spec.BuiltIn {
		return nil, &Error{
			Class: ClassConflict, Code: CodeBuiltIn, Message: "driver " + d.VersionName() + " ships with the server",
			Remedy: "change its settings where they are: bulkhead driver update " + d.Name + " --property KEY=VALUE",
		}
	}
	taken := func(label string) bool {
		number := d.variantNumber(label)
		return slices.ContainsFunc(versions, func(v *Driver) bool { return v.Spec.Version == number })
	}
	for n := 1; label == ""; n++ {
		if one := fmt.Sprintf("%s%d", variantMark, n); !taken(one) {
			label = one
		}
	}
	if taken(label) {
		return nil, &Error{
			Class: ClassConflict, Code: CodeVersionTaken, Message: "there is a version " + d.variantNumber(label) + " already",
			Remedy: "choose another label, or leave it out",
			Fields: []FieldError{{Pointer: "/label", Code: CodeVersionTaken, Message: "is taken"}},
		}
	}
	if name == "" {
		name = strings.TrimSuffix(d.Name, "."+d.Spec.Variant)
		name = strings.TrimRight(name[:min(len(name), maxName-len("."+label))], "-.") + "." + label
	}
	next := &Driver{Meta: Meta{Kind: KindDriver, Name: name, Labels: maps.Clone(d.Labels)}, Spec: d.Spec}
	next.Spec.Version, next.Spec.Variant = d.variantNumber(label), label
	next.Spec.Properties, next.Spec.Secrets = properties, nil
	next.Spec.Enabled, next.Spec.Current = true, false
	next.Status = d.Status // the same program says the same of itself
	next.Status.Instances, next.Status.Troubles = nil, nil
	return next, nil
}

// ProgramVersion is the version that its archive declares.
func (d *Driver) ProgramVersion() string {
	if d.Spec.Variant == "" {
		return d.Spec.Version
	}
	return strings.TrimRight(strings.TrimSuffix(d.Spec.Version, d.Spec.Variant), "+.")
}

func (d *Driver) variantNumber(label string) string {
	program, mark := d.ProgramVersion(), "+"
	if strings.Contains(program, mark) {
		mark = "."
	}
	return program + mark + label
}

// SettingsThatDiffer lists the driver-wide settings of which two versions do not have the same value. A secret that was
// given to each of them counts as another one.
func SettingsThatDiffer(a, b *Driver) (keys []string) {
	all := map[string]bool{}
	for _, d := range []*Driver{a, b} {
		for key := range d.Spec.Properties {
			all[key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		was, had := a.Spec.Properties[key]
		is, has := b.Spec.Properties[key]
		if had != has || !reflect.DeepEqual(was, is) {
			keys = append(keys, key)
		}
	}
	return keys
}
