package resources_test

import (
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func rule(name, effect string, priority uint32, change func(s *resources.PolicySpec)) *resources.Policy {
	p := &resources.Policy{
		Meta: resources.Meta{Kind: resources.KindPolicy, ID: "pol-" + name, Name: name},
		Spec: resources.PolicySpec{Effect: effect, Priority: priority},
	}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func TestTheFirstRuleAboutAUseDecides(t *testing.T) {
	deny, allow := resources.PolicyDeny, resources.PolicyAllow
	rules := []*resources.Policy{
		rule("vendor", deny, 9, func(s *resources.PolicySpec) { s.Drivers = []string{"acme/*"} }),
		rule("storage", deny, 5, func(s *resources.PolicySpec) {
			s.Categories, s.Actions = []string{"storage"}, []string{"volume/*", "*/forget"}
			s.Roles = []resources.Role{resources.RoleOperator}
		}),
		rule("grow", allow, 5, func(s *resources.PolicySpec) { s.Actions = []string{"volume/grow"} }),
		rule("first", allow, 1, func(s *resources.PolicySpec) {
			s.Actions, s.Drivers = []string{"volume/create"}, []string{"acme/array"}
		}),
		rule("path", deny, 1, func(s *resources.PolicySpec) { s.Properties = []string{"path"} }),
		rule("all", deny, 2, func(s *resources.PolicySpec) {
			s.Properties, s.Actions = []string{"*"}, []string{"pool/update"}
		}),
	}
	resources.InOrder(rules)
	storage := []string{"storage"}
	const operator, admin = resources.RoleOperator, resources.RoleAdmin
	for _, c := range []struct {
		use  resources.Use
		want string
	}{
		{resources.Use{Role: operator, Product: "acme/array", Action: "volume/create"}, "first"},
		{resources.Use{Role: operator, Product: "acme/array", Action: "volume/create", Property: "path"}, "path"},
		{resources.Use{Role: operator, Product: "acme/array", Action: "volume/create", Property: "other"}, "none"},
		{resources.Use{Role: operator, Product: "b/files", Action: "pool/update", Property: "other"}, "all"},
		{resources.Use{Role: operator, Product: "b/files", Categories: storage, Action: "volume/delete"}, "storage"},
		{resources.Use{Role: operator, Product: "b/files", Categories: storage, Action: "pool/forget"}, "storage"},
		{resources.Use{Role: operator, Product: "b/files", Categories: storage, Action: "volume/grow"}, "storage"},
		{resources.Use{Role: operator, Product: "b/files", Categories: []string{"image"}, Action: "volume/grow"}, "grow"},
		{resources.Use{Role: admin, Product: "b/files", Categories: []string{"storage"}, Action: "volume/delete"}, "none"},
		{resources.Use{Role: admin, Product: "acme/other", Action: "pool/create"}, "vendor"},
		{resources.Use{Role: admin, Product: "acmes/other", Action: "pool/create"}, "none"},
	} {
		got := "none"
		if p := resources.PolicyOn(c.use, rules); p != nil {
			got = p.Name
		}
		if got != c.want {
			t.Errorf("%+v: %s decides, want %s", c.use, got, c.want)
		}
	}
}

func TestRolesCoverThoseBelow(t *testing.T) {
	for want, covers := range map[string]bool{
		"admin operator": true, "reader operator": false, "reader ": true, "nobody ": false,
		"admin nobody": false, " ": false,
	} {
		has, least, _ := strings.Cut(want, " ")
		if resources.Role(has).Covers(resources.Role(least)) != covers {
			t.Errorf("%s: not %v", want, covers)
		}
	}
}

func TestPoliciesThatSayNothing(t *testing.T) {
	for want, change := range map[string]func(s *resources.PolicySpec){
		"/spec/effect":       func(s *resources.PolicySpec) { s.Effect = "forbid" },
		"/spec/priority":     func(s *resources.PolicySpec) { s.Priority = 70000 },
		"/spec/roles/0":      func(s *resources.PolicySpec) { s.Roles = []resources.Role{"root"} },
		"/spec/drivers/0":    func(s *resources.PolicySpec) { s.Drivers = []string{"acme"} },
		"/spec/categories/0": func(s *resources.PolicySpec) { s.Categories = []string{"tapes"} },
		"/spec/actions/1":    func(s *resources.PolicySpec) { s.Actions = []string{"*/*", "create"} },
		"/spec/properties/0": func(s *resources.PolicySpec) { s.Properties = []string{"a b"} },
		"/spec/reason":       func(s *resources.PolicySpec) { s.Reason = strings.Repeat("a", 300) },
		"/spec/properties": func(s *resources.PolicySpec) {
			s.Properties = strings.Split(strings.Repeat("a ", 70)+"a", " ")
		},
	} {
		p := resources.NewProblems("")
		rule("r", resources.PolicyDeny, 0, change).Validate(p)
		if e := resources.AsError(p.Err()); e == nil || len(e.Fields) != 1 || e.Fields[0].Pointer != want {
			t.Errorf("want %s, got %+v", want, e)
		}
	}
	for action, something := range map[string]bool{
		"volume/create": true, "*/create": true, "volume/*": true, "*/*": true, "pool/forget": true, "*/power-off": true,
		"machine/console": true, "swap/start": true, "driver/attach": true, "volumes/create": false, "volume/creat": false,
		"host/start": false, "*/destroy": false, "volume/claim": false,
	} {
		p := resources.NewProblems("")
		rule("r", resources.PolicyDeny, 0, func(s *resources.PolicySpec) { s.Actions = []string{action} }).Validate(p)
		if e := resources.AsError(p.Err()); (e == nil) != something || e != nil && e.Fields[0].Pointer != "/spec/actions/0" {
			t.Errorf("%s: %+v", action, e)
		}
	}
	p := resources.NewProblems("")
	rule("r", resources.PolicyAllow, 0, nil).Validate(p)
	if p.Err() != nil {
		t.Error(p.Err())
	}
}
