package archive_test

import (
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

func TestRunsUnder(t *testing.T) {
	for _, c := range []struct {
		within, program string
		refused         bool
	}{
		{"", "0.1.0", false},
		{">=0.4 <2", "0.4.0", false},
		{">=0.4 <2", "1.9.7", false},
		{">=0.4 <2", "2.0.0", true},
		{">=0.4 <2", "0.4.0-dev", true},
		{">=0.4.0-0 <2", "0.4.0-dev", false},
		{">=0.4 <2", "", false},
		{">=0.4 <2", "built by hand", false},
	} {
		d := archive.Declaration{Name: "acme/shelf", Version: "1.0.0", Requires: archive.Requires{Server: c.within}}
		err := d.RunsUnder(c.program)
		if (err != nil) != c.refused {
			t.Errorf("%q under %q: %v", c.within, c.program, err)
		}
		if c.refused && !strings.Contains(err.Error(), c.program) {
			t.Errorf("it does not name %s: %v", c.program, err)
		}
	}
}
