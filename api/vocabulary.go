package api

import (
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/api/schema"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// exampleTail makes an example id of a prefix.
const exampleTail = "-01jd3v8x5m9k2q7r4t6w8y0z1a"

// specials says how types of the vocabulary are shown: enums and ids as such.
func specials(v resources.Vocabulary) map[reflect.Type]schema.Special {
	m := map[reflect.Type]schema.Special{
		reflect.TypeFor[resources.Kind]():  {Name: "Kind", Schema: enum("Kind of resource.", kinds()...)},
		reflect.TypeFor[resources.Phase](): {Name: "Phase", Schema: enum("Where a resource stands.", phases(v)...)},
		reflect.TypeFor[resources.Class](): {
			Name:   "Class",
			Schema: enum("Class of a failure.", texts(resources.Classes())...),
		},
		reflect.TypeFor[resources.Role](): {
			Name: "Role",
			Schema: enum("What a token may do, each with all rights of the next.",
				string(resources.RoleAdmin), string(resources.RoleOperator), string(resources.RoleReader)),
		},
		reflect.TypeFor[resources.Order](): {
			Name: "ListOrder", Schema: enum("Order of a list.", string(resources.OrderOldest), string(resources.OrderNewest)),
		},
		reflect.TypeFor[resources.StepState](): {Name: "StepState", Schema: enum("How a step stands.",
			texts([]resources.StepState{
				resources.StepWaiting, resources.StepRunning, resources.StepDone, resources.StepFailed,
				resources.StepUndoing, resources.StepUndone, resources.StepSkipped,
			})...)},
		reflect.TypeFor[object](): {Schema: huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}},
	}
	for t, kind := range idKinds() {
		m[t] = schema.Special{Schema: idSchema(v[kind].Prefix, kind)}
	}
	return m
}

func idSchema(prefix string, kind resources.Kind) huma.Schema {
	return huma.Schema{
		Type: huma.TypeString, Pattern: "^" + prefix + "-[0-9a-hjkmnp-tv-z]{26}$",
		PatternDescription: "the id of a resource of kind " + string(kind) + ", such as " + prefix + exampleTail,
		Examples:           []any{prefix + exampleTail}, Extensions: map[string]any{"x-ref": string(kind)},
	}
}

func enum(about string, values ...string) huma.Schema {
	s := huma.Schema{Type: huma.TypeString, Description: about}
	for _, v := range values {
		s.Enum = append(s.Enum, v)
	}
	return s
}

func texts[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

func kinds() []string {
	var all []string
	for _, d := range resources.Definitions() {
		all = append(all, string(d.Kind))
	}
	return append(all, string(door.KindNode), string(door.KindJoinToken)) // what else failures and the log are about
}

// phases are all that occur in a table, in the order in which they first do.
func phases(v resources.Vocabulary) []string {
	all := []resources.Phase{
		resources.PhasePending, resources.PhaseCreating, resources.PhaseReady, resources.PhaseDegraded,
		resources.PhaseMaintaining, resources.PhaseMaintenance,
		resources.PhaseRunning, resources.PhaseStopped, resources.PhasePaused, resources.PhaseUpdating,
		resources.PhaseStarting, resources.PhaseStopping, resources.PhaseRebooting, resources.PhasePausing,
		resources.PhaseResuming, resources.PhaseMigrating, resources.PhaseRecovering,
		resources.PhasePlanned, resources.PhaseSwapping, resources.PhaseCommitted, resources.PhaseRollingBack,
		resources.PhaseRolledBack,
		resources.PhaseDeleting, resources.PhaseDeleted,
		resources.PhaseFailed,
		resources.PhaseQueued, resources.PhaseUnwinding, resources.PhaseSucceeded, resources.PhaseCancelled,
		resources.PhaseNeedsOperator,
	}
	var used []string
	for _, p := range all {
		for _, d := range v {
			if _, ok := d.Phases[p]; ok {
				used = append(used, string(p))
				break
			}
		}
	}
	return used
}

// schemaName gives a Go type its name in the document.
func schemaName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[resources.Error]():
		return "Failure"
	case reflect.TypeFor[resources.FieldError]():
		return "FailureField"
	case reflect.TypeFor[resources.Ref]():
		return "ResourceRef"
	}
	outer, inner, generic := strings.Cut(t.Name(), "[")
	if !generic {
		return strings.ToUpper(outer[:1]) + outer[1:]
	}
	inner = strings.TrimSuffix(inner[strings.LastIndex(inner, ".")+1:], "]")
	switch outer {
	case "creation":
		return "New" + strings.TrimSuffix(inner, "Spec")
	case "page":
		return inner + "Page"
	}
	return inner + strings.ToUpper(outer[:1]) + outer[1:]
}
