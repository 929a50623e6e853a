package host_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

func TestWhichVersionAProgramMaySayItIs(t *testing.T) {
	for _, test := range []struct {
		is, said string
		want     bool
	}{
		{"1.2.0", "1.2.0", true},
		{"1.2.0+b", "1.2.0", true},
		{"1.2.0+b", "1.2.0+b", true},
		{"1.2.0+linux.b", "1.2.0+linux", true},
		{"1.2.0+linux.b", "1.2.0", true},
		{"1.2.0+linux", "1.2.0+lin", false},
		{"1.2.0", "1.2", false},
		{"1.2.0", "", false},
		{"1.2.0", "1.2.0+b", false},
		{"1.2.10", "1.2.1", false},
	} {
		if got := host.MayCallItself(test.is, test.said); got != test.want {
			t.Errorf("%q says it is %q: %t", test.is, test.said, got)
		}
	}
}
