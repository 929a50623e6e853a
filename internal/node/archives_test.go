package node_test

import (
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// TestWhatIsRefusedIsDroppedOnceNobodyMayNeedIt: of two installations of one archive, whichever ends first, the other
// one finds it.
func TestWhatIsRefusedIsDroppedOnceNobodyMayNeedIt(t *testing.T) {
	for name, of := range map[string]struct {
		ends []string // the archive that an installation was of, with an exclamation mark if it was well
		want []string // what is dropped as the last of them ends
	}{
		"refused":                    {[]string{"a"}, []string{"a"}},
		"well":                       {[]string{"a!"}, nil},
		"twice refused":              {[]string{"a", "a"}, []string{"a"}},
		"refused, then well":         {[]string{"a", "a!"}, nil},
		"well, then refused":         {[]string{"a!", "a"}, nil},
		"another is well":            {[]string{"a", "b!"}, []string{"a"}},
		"nothing that is an archive": {[]string{"a", ""}, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			var taking node.Taking
			var dropped []string
			for range of.ends {
				taking.Begin()
			}
			for i, end := range of.ends {
				if i > 0 && len(dropped) > 0 {
					t.Errorf("%q is dropped while another installation looks at it", dropped)
				}
				digest, well := end, false
				if n := len(end) - 1; n > 0 && end[n] == '!' {
					digest, well = end[:n], true
				}
				taking.End(digest, well, func(digest string) { dropped = append(dropped, digest) })
			}
			if !slices.Equal(dropped, of.want) {
				t.Errorf("dropped are %q, want %q", dropped, of.want)
			}
			taking.Begin()
			taking.End("", false, func(digest string) { t.Errorf("%s is dropped later", digest) })
		})
	}
}
