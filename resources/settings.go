package resources

import (
	"slices"
	"strings"
)

// Settings are the values in one place of a resource that a driver understands.
type Settings struct {
	// Owner is what secrets among them are sealed for.
	Owner Ref
	// Product of the driver, vendor/name; "" = it is not the resource that says which.
	Product string
	// Scope by which drivers describe them: a kind, or an OperationScope.
	Scope Kind
	// At is put before a key to tell it from the same one in another place of the resource; "" for those of the spec.
	At string
	// Values are shared with the resource: they are not to be changed, but put.
	Values map[string]any
	// in is where the resource has them; "" = /spec.
	in  string
	put func(values map[string]any)
}

// Put gives the resource that they are of other values.
func (s Settings) Put(values map[string]any) { s.put(values) }

// SettingsOf lists the settings of a resource, without those that hold nothing.
func SettingsOf(r Resource) []Settings {
	switch r := r.(type) {
	case *Driver: // of all versions of a product together: what one has another may be given
		product := Ref{Kind: KindDriver, ID: r.Spec.Product}
		return settings(product, KindDriver, r.Spec.Product, &r.Spec.Properties)
	case *Host:
		own := settings(r.Ref(), r.Kind, r.Spec.Driver, &r.Spec.Properties)
		if b := r.Spec.OutOfBand; b != nil && len(b.Properties) > 0 {
			own = append(own, Settings{
				Owner: r.Ref(), Product: b.Driver, Scope: r.Kind, At: "outOfBand/", Values: b.Properties,
				put: func(values map[string]any) {
					next := *b // it may be shared
					next.Properties = values
					r.Spec.OutOfBand = &next
				},
			})
		}
		return own
	case *Pool:
		return settings(r.Ref(), r.Kind, r.Spec.Driver, &r.Spec.Properties)
	case *ImageStore:
		return settings(r.Ref(), r.Kind, r.Spec.Driver, &r.Spec.Properties)
	case *Network:
		own := settings(r.Ref(), r.Kind, r.Spec.Driver, &r.Spec.Properties)
		if f := r.Status.Former; f != nil { // what they are again if an operation is undone
			own = append(settings(r.Ref(), r.Kind, f.Spec.Driver, &f.Spec.Properties), own...)
		}
		return own
	case *Volume:
		return settings(r.Ref(), r.Kind, "", &r.Spec.Properties)
	case *Machine:
		return settings(r.Ref(), r.Kind, "", &r.Spec.Properties)
	}
	return settingsOfOperation(r)
}

func settingsOfOperation(r Resource) []Settings {
	o, is := r.(*Operation)
	if !is {
		return nil
	}
	own := settings(o.Ref(), OperationScope(o.Target.Kind, o.Action), "", &o.Arguments.Properties)
	for i := range own {
		own[i].in = "/arguments"
	}
	return own
}

// OperationScope is the scope of settings that are given with one operation: "volume/grow".
func OperationScope(kind Kind, action string) Kind { return kind + "/" + Kind(action) }

func settings(owner Ref, scope Kind, product string, in *map[string]any) []Settings {
	if len(*in) == 0 {
		return nil
	}
	return []Settings{{
		Owner: owner, Product: product, Scope: scope, Values: *in, put: func(values map[string]any) { *in = values },
	}}
}

// Configurable are the kinds that have settings for as long as they are there; those of operations are not among them.
func Configurable() []Kind {
	return []Kind{KindDriver, KindHost, KindPool, KindImageStore, KindNetwork, KindVolume, KindMachine}
}

// sealedKey is the only key of what stands for a secret. No setting that somebody gives is an object.
const sealedKey = "sealed"

// Sealed is what stands in settings for a secret that was sealed. Of one that is lost nothing is left but that it was
// there: its text is empty.
func Sealed(text string) map[string]any { return map[string]any{sealedKey: text} }

// SealedText returns the text of what Sealed made.
func SealedText(value any) (text string, sealed bool) {
	object, ok := value.(map[string]any)
	if !ok || len(object) != 1 {
		return "", false
	}
	text, sealed = object[sealedKey].(string)
	return text, sealed
}

// SealingKey is the id of the key that the text of a sealed secret was sealed with; "" = there is none in it.
func SealingKey(text string) string {
	_, rest, _ := strings.Cut(text, ".") // what comes before says how the rest is written
	id, _, found := strings.Cut(rest, ".")
	if !found {
		return ""
	}
	return id
}

// SealingKeys lists the ids of the keys that secrets of a resource are sealed with, some of them more than once.
func SealingKeys(r Resource) (ids []string) {
	for _, s := range SettingsOf(r) {
		for _, value := range s.Values {
			if text, sealed := SealedText(value); sealed && text != "" {
				ids = append(ids, SealingKey(text))
			}
		}
	}
	return ids
}

// Lost lists the secrets of a resource that are there and that nobody can open any more, by JSON pointer: they must be
// given again.
func Lost(r Resource) []string { return Shut(r, func(string) bool { return true }) }

// Shut lists the secrets of a resource that are lost, or that can't be opened with the keys that there are.
func Shut(r Resource, have func(id string) bool) (pointers []string) {
	for _, s := range SettingsOf(r) {
		for key, value := range s.Values {
			if text, sealed := SealedText(value); sealed && (text == "" || !have(SealingKey(text))) {
				pointers = append(pointers, s.Pointer(key))
			}
		}
	}
	slices.Sort(pointers)
	return slices.Compact(pointers)
}

// Pointer is the JSON pointer to a setting.
func (s Settings) Pointer(key string) string {
	if s.in != "" {
		return s.in + "/properties/" + key
	}
	if s.At == "" {
		return "/spec/properties/" + key
	}
	return "/spec/" + s.At + "properties/" + key
}
