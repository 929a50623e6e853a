package door

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// judge fails with class denied if one of the uses is not allowed: with the field, the rule and what to do.
func (u *uses) judge() error {
	var refused *resources.Error
	for _, one := range u.list {
		why := u.book.verdict(u.role, one)
		if why == nil {
			continue
		}
		if refused == nil {
			refused = why.refusal(u.role, one)
		}
		field := resources.FieldError{Pointer: one.pointer, Code: why.code(), Message: why.words(), Remedy: why.remedy(one)}
		if field.Pointer != "" && !slices.ContainsFunc(refused.Fields, func(f resources.FieldError) bool {
			return f.Pointer == field.Pointer
		}) {
			refused.Fields = append(refused.Fields, field)
		}
	}
	if refused == nil {
		return nil
	}
	return refused
}

// verdict is why a use is not allowed.
type verdict struct {
	rule  *resources.Policy
	least resources.Role // that the driver asks for
}

func (v *verdict) code() string {
	if v.rule != nil {
		return CodePolicyDenied
	}
	return CodeRoleNeeded
}

// words say what keeps somebody from a use.
func (v *verdict) words() string {
	if v.rule == nil {
		return "its driver asks for the role " + string(v.least)
	}
	words := "policy " + v.rule.Name + " does not allow it"
	if v.rule.Spec.Reason != "" {
		words += ": " + v.rule.Spec.Reason
	}
	return words
}

func (v *verdict) remedy(one driverUse) string {
	switch {
	case !one.chosen:
		return "name one whose driver you may use: the zone could choose " + one.product
	case one.property != "":
		return "leave it as it is, or ask an admin"
	}
	return "use another driver, or ask an admin"
}

func (v *verdict) refusal(role resources.Role, one driverUse) *resources.Error {
	what := "use driver " + one.product + " for " + one.action
	if one.property != "" {
		what = "give property " + one.property + " of driver " + one.product + " a value in " + one.action
	}
	e := &resources.Error{
		Class: resources.ClassDenied, Code: v.code(), Remedy: v.remedy(one),
		Message: fmt.Sprintf("role %s may not %s: %s", role, what, v.words()),
	}
	if v.rule != nil {
		ref := v.rule.Ref()
		e.Resource = &ref
	}
	return e
}

// refuse writes down that the holder of a grant was not allowed something. It is refused also if that can't be done.
func (d *Door) refuse(ctx context.Context, g Grant, s resources.Submission, err error) {
	e := resources.AsError(err)
	if e == nil || e.Code != CodePolicyDenied && e.Code != CodeRoleNeeded {
		return
	}
	s.Origin.Principal = g.principal.String()
	_ = d.engine.Refused(ctx, g.permission.Verb, s.Target, e.Message, s.Origin)
}
