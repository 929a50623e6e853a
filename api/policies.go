package api

import "github.com/bulkhead-cloud/bulkhead/resources"

type policyList struct {
	ListParams
	Effect string `query:"effect" enum:"deny,allow" doc:"Only policies with this effect."`
}

func (l *policyList) facets() map[string]string { return given("effect", l.Effect) }

type policyPatch struct {
	MetaPatch
	Spec *policySpecPatch `json:"spec,omitempty" doc:"Changes of what it says."`
}

type policySpecPatch struct {
	Effect     *string           `json:"effect,omitempty" enum:"allow,deny" doc:"What becomes of a use that it is about."`
	Priority   *uint32           `json:"priority,omitempty" maximum:"65535" doc:"Lower comes first."`
	Roles      *[]resources.Role `json:"roles,omitempty" maxItems:"3" doc:"Whose use; replaces all, and none means everybody's."`
	Drivers    *[]string         `json:"drivers,omitempty" maxItems:"64" doc:"Drivers; replaces all, and none means all there are."`
	Categories *[]string         `json:"categories,omitempty" maxItems:"5" doc:"Categories; replaces all, and none means all there are."`
	Actions    *[]string         `json:"actions,omitempty" maxItems:"64" doc:"Kinds and actions; replaces all, and none means all there are."`
	Properties *[]string         `json:"properties,omitempty" maxItems:"64" doc:"Keys of properties; replaces all, and none means that it is about the action itself."`
	Reason     *string           `json:"reason,omitempty" maxLength:"256" doc:"What somebody who is refused is told besides."`
}

func (b policyPatch) apply(p *resources.Policy) {
	b.meta(&p.Meta)
	if b.Spec == nil {
		return
	}
	set(&p.Spec.Effect, b.Spec.Effect)
	set(&p.Spec.Priority, b.Spec.Priority)
	set(&p.Spec.Roles, b.Spec.Roles)
	set(&p.Spec.Drivers, b.Spec.Drivers)
	set(&p.Spec.Categories, b.Spec.Categories)
	set(&p.Spec.Actions, b.Spec.Actions)
	set(&p.Spec.Properties, b.Spec.Properties)
	set(&p.Spec.Reason, b.Spec.Reason)
}

func (a *API) policies() {
	n := noun{resources.KindPolicy, "policy", "policies", "policy", "policies", "Policies"}
	addList[resources.Policy, policyList](a, n)
	addGet[resources.Policy](a, n)
	addCreate(a, n, func(c *creation[resources.PolicySpec]) resources.Resource {
		return &resources.Policy{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[policyPatch](a, n)
	addDelete(a, n)
	addSuspend[resources.Policy](a, n)
}
