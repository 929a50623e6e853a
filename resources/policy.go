package resources

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Policy is a rule on which roles may use which drivers, for which actions, and with which properties.
type Policy struct {
	Meta
	Spec   PolicySpec   `json:"spec"`
	Status PolicyStatus `json:"status"`
}

// PolicySpec is what a rule says. It is about a use that all of its lists hold, and one that is empty holds any.
type PolicySpec struct {
	Effect     string   `json:"effect" enum:"allow,deny" doc:"What becomes of a use that the rule is about. allow makes an exception from rules that come later and from what a driver asks for itself; it gives nobody what the role has not."`
	Priority   uint32   `json:"priority,omitempty" maximum:"65535" doc:"Lower comes first, and the first rule that is about a use decides. Of one priority deny before allow."`
	Roles      []Role   `json:"roles,omitempty" maxItems:"3" doc:"Whose use; absent means everybody's."`
	Drivers    []string `json:"drivers,omitempty" maxItems:"64" doc:"Drivers, vendor/name, or vendor/* for all of a vendor; absent means all."`
	Categories []string `json:"categories,omitempty" maxItems:"5" doc:"Drivers that serve one of these: network, storage, image, hypervisor, out-of-band; absent means all."`
	Actions    []string `json:"actions,omitempty" maxItems:"64" doc:"Kind and action, such as volume/create, volume/* or */delete; absent means all."`
	Properties []string `json:"properties,omitempty" maxItems:"64" doc:"Keys of properties that are given a value, or * for all. Absent means that the rule is about the action itself."`
	Reason     string   `json:"reason,omitempty" maxLength:"256" doc:"What somebody who is refused is told besides."`
}

// PolicyStatus is what was observed of a policy.
type PolicyStatus struct{}

// The effects of a policy.
const (
	PolicyAllow = "allow"
	PolicyDeny  = "deny"
)

// Use is one use of a driver by somebody.
type Use struct {
	Role Role
	// Product of the driver, vendor/name, and the categories that it serves.
	Product    string
	Categories []string
	// Action is its kind and name: "volume/create".
	Action string
	// Property is the key of one that is given a value; "" = the action itself.
	Property string
}

// About reports whether the rule is about a use.
func (p *Policy) About(u Use) bool {
	s := p.Spec
	return (len(s.Roles) == 0 || slices.Contains(s.Roles, u.Role)) &&
		(len(s.Drivers) == 0 || slices.ContainsFunc(s.Drivers, func(d string) bool { return isOneOf(d, u.Product) })) &&
		(len(s.Categories) == 0 || slices.ContainsFunc(u.Categories, func(c string) bool {
			return slices.Contains(s.Categories, c)
		})) &&
		(len(s.Actions) == 0 || slices.ContainsFunc(s.Actions, func(a string) bool { return isOneOf(a, u.Action) })) &&
		s.isFor(u.Property)
}

func (s PolicySpec) isFor(property string) bool {
	if property == "" || len(s.Properties) == 0 {
		return property == "" && len(s.Properties) == 0
	}
	return slices.Contains(s.Properties, property) || slices.Contains(s.Properties, "*")
}

// isOneOf compares two halves, of which the pattern's may be "*".
func isOneOf(pattern, name string) bool {
	first, second, _ := strings.Cut(pattern, "/")
	one, other, _ := strings.Cut(name, "/")
	return (first == "*" || first == one) && (second == "*" || second == other)
}

// InOrder sorts policies as they are asked.
func InOrder(all []*Policy) {
	slices.SortFunc(all, func(a, b *Policy) int {
		return cmp.Or(
			cmp.Compare(a.Spec.Priority, b.Spec.Priority),
			-cmp.Compare(a.Spec.Effect, b.Spec.Effect), // deny before allow
			cmp.Compare(a.ID, b.ID),
		)
	})
}

// PolicyOn returns the rule that decides on a use, of policies that are in order; nil = none is about it.
func PolicyOn(u Use, all []*Policy) *Policy {
	for _, p := range all {
		if p.About(u) {
			return p
		}
	}
	return nil
}

// Covers reports whether a role has all that another one has. What is no role has nothing.
func (r Role) Covers(least Role) bool {
	order := []Role{RoleReader, RoleOperator, RoleAdmin}
	has := slices.Index(order, r)
	return has >= 0 && (least == "" || has >= slices.Index(order, least) && slices.Contains(order, least))
}

var (
	policyDriver = regexp.MustCompile(`^(\*|[a-z0-9][a-z0-9-]{0,31})/(\*|[a-z0-9][a-z0-9-]{0,31})$`)
	policyKey    = regexp.MustCompile(`^(\*|[A-Za-z][A-Za-z0-9_.-]{0,63})$`)
	policyAction = regexp.MustCompile(`^(\*|[a-z][a-z-]{0,31})/(\*|[a-z][a-z-]{0,31})$`)
)

const (
	maxPolicyNames    = 64
	maxPolicyPriority = 65535
)

// Validate implements Resource.
func (p *Policy) Validate(problems *Problems) {
	ValidateMeta(&p.Meta, problems)
	RequireName(&p.Meta, problems)
	s := problems.In("spec")
	s.OneOf("effect", p.Spec.Effect, PolicyAllow, PolicyDeny)
	s.Between("priority", uint64(p.Spec.Priority), 0, maxPolicyPriority)
	s.MaxLength("reason", p.Spec.Reason, 256)
	for i, role := range p.Spec.Roles {
		if !role.Covers("") {
			s.In("roles").At(i).Add("not-allowed", "must be admin, operator or reader")
		}
	}
	for i, category := range p.Spec.Categories {
		if !slices.Contains(DriverCategories(), category) {
			s.In("categories").At(i).Add("not-allowed", "must be one of %s", strings.Join(DriverCategories(), ", "))
		}
	}
	for name, list := range map[string][]string{
		"drivers": p.Spec.Drivers, "actions": p.Spec.Actions, "properties": p.Spec.Properties,
	} {
		if len(list) > maxPolicyNames {
			s.In(name).Add("too-many", "must not name more than %d", maxPolicyNames)
		}
	}
	validateEach(s.In("drivers"), p.Spec.Drivers, policyDriver, "must be vendor/name, or vendor/*")
	validateEach(s.In("properties"), p.Spec.Properties, policyKey, "must be the key of a property, or *")
	validateEach(s.In("actions"), p.Spec.Actions, policyAction,
		"must be a kind and an action such as volume/create, or * for either")
	v := NewVocabulary()
	for i, action := range p.Spec.Actions {
		if policyAction.MatchString(action) && !v.names(action) {
			s.In("actions").At(i).Add("not-allowed", "names nothing that anybody can ask for")
		}
	}
}

// names reports whether there is something that can be asked for which a pattern of a policy names.
func (v Vocabulary) names(pattern string) bool {
	kind, verb, _ := strings.Cut(pattern, "/")
	if _, known := v[Kind(kind)]; kind != "*" && !known {
		return false
	}
	if verb == "*" || slices.Contains(besideActions(), verb) {
		return true
	}
	for _, d := range v {
		if a, has := d.Actions[verb]; has && !a.Internal && (kind == "*" || kind == string(d.Kind)) {
			return true
		}
	}
	return false
}

// besideActions is what can be asked for and is no action of a kind by itself.
func besideActions() []string {
	return []string{
		"forget", "forget-volume", "upload", "console", "attach", "suspend-work", "resume-work",
	}
}

func validateEach(p *Problems, list []string, syntax *regexp.Regexp, want string) {
	for i, one := range list {
		if !syntax.MatchString(one) {
			p.At(i).Add("bad-format", "%s", want)
		}
	}
}

// DriverCategories are what drivers can serve.
func DriverCategories() []string {
	return []string{"network", "storage", "image", "hypervisor", "out-of-band"}
}

// Level is that of the zones whose programs know policies.
func (p *Policy) Level() uint32 { return levelIf(true) }

// References implements Resource.
func (p *Policy) References() []Ref { return nil }

// Facets implements Resource.
func (p *Policy) Facets() map[string]string { return map[string]string{"effect": p.Spec.Effect} }

func policyDefinition() Definition {
	return Definition{
		Kind: KindPolicy, Prefix: "pol", Plural: "policies",
		New:    func() Resource { return &Policy{Meta: Meta{Kind: KindPolicy}} },
		Phases: simpleTable(), Actions: instantActions(),
		Mutable: []string{"effect", "priority", "roles", "drivers", "categories", "actions", "properties", "reason"},
	}
}
