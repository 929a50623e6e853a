package resources_test

import (
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
