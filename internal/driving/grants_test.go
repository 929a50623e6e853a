package driving_test

import (
	"reflect"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
)

// What any version of a product takes for a path is one, from when it says so.
func TestGrantsFollowWhatVersionsSay(t *testing.T) {
	values := map[string]any{"place": "/srv/a:/srv/b", "name": "/not/a/path"}
	got, err := driving.Granted(values,
		map[string]string{"name": ""},
		map[string]string{"place": "read", "name": ""},
		map[string]string{"place": "read-write"},
		map[string]string{"place": "read"},
	)
	if err != nil {
		t.Fatal(err)
	}
	read := []host.Grant{{Path: "/srv/a"}, {Path: "/srv/b"}}
	write := []host.Grant{{Path: "/srv/a", ReadWrite: true}, {Path: "/srv/b", ReadWrite: true}}
	if want := [][]host.Grant{nil, read, write, write}; !reflect.DeepEqual(got, want) {
		t.Errorf("granted %v, not %v", got, want)
	}
}
