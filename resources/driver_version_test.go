package resources_test

import (
	"reflect"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestWhichVersionActs(t *testing.T) {
	builtIn := &resources.Driver{Spec: resources.DriverSpec{Version: "1.1.0", BuiltIn: true}}
	two := &resources.Driver{Spec: resources.DriverSpec{Version: "2.0.0"}}
	three := &resources.Driver{Spec: resources.DriverSpec{Version: "3.0.0", Current: true}}
	for _, c := range []struct {
		about    string
		versions []*resources.Driver
		asked    string
		want     *resources.Driver
	}{
		{"nothing is installed", nil, "", nil},
		{"the one that ships with the server is current", []*resources.Driver{two, builtIn}, "", builtIn},
		{"one was made current", []*resources.Driver{builtIn, two, three}, "", three},
		{"the only one is current", []*resources.Driver{two}, "", two},
		{"an installed one", []*resources.Driver{builtIn, two, three}, "2.0.0", two},
		{"the one that ships", []*resources.Driver{two, builtIn, three}, "1.1.0", builtIn},
		{"one that shipped before", []*resources.Driver{two, builtIn, three}, "1.0.0", builtIn},
		{"one that is gone", []*resources.Driver{two, three}, "1.0.0", nil},
	} {
		if got := resources.DriverOf(c.versions, c.asked); got != c.want {
			t.Errorf("%s: got %+v", c.about, got)
		}
	}
}

// A new version gets the driver-wide settings that both have: what it does not know, or takes for something else, stays
// where it is.
func TestInherit(t *testing.T) {
	say := func(key, scope, kind string, secret bool) resources.Property {
		return resources.Property{Key: key, Scope: scope, Type: kind, Secret: secret}
	}
	old := &resources.Driver{
		Spec: resources.DriverSpec{Properties: map[string]any{
			"url": "https://a", "key": map[string]any{"sealed": "x"}, "port": "1", "gone": "1", "token": "plain",
			"of-pools": "1",
		}},
		Status: resources.DriverStatus{Properties: []resources.Property{
			say("url", "driver", "string", false), say("key", "driver", "string", true), say("port", "driver", "string", false),
			say("gone", "driver", "string", false), say("token", "driver", "string", false),
			say("of-pools", "driver", "string", false),
		}},
	}
	next := &resources.Driver{Status: resources.DriverStatus{Properties: []resources.Property{
		say("url", "driver", "string", false), say("key", "driver", "string", true), say("port", "driver", "number", false),
		say("token", "driver", "string", true), say("of-pools", "pool", "string", false),
		say("new", "driver", "string", false),
	}}}
	next.Inherit(nil)
	if next.Spec.Properties != nil {
		t.Errorf("from none it has %v", next.Spec.Properties)
	}
	next.Inherit(old)
	want := map[string]any{"url": "https://a", "key": map[string]any{"sealed": "x"}}
	if !reflect.DeepEqual(next.Spec.Properties, want) {
		t.Errorf("it has %v, not %v", next.Spec.Properties, want)
	}
}
