package units_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/units"
)

// TestWhatADriverMayRearrangeIsPinned: between the check of a path and the start the driver may put a link on its way.
// Only pinned paths are opened without following it.
func TestWhatADriverMayRearrangeIsPinned(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk", "seed"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := units.Open(units.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	spec, err := set.For("test", units.Policy{WriteRoots: []string{dir}}).SpecOf(&driverpb.Launch{
		Unit: "u", Argv: []string{"/bin/sleep"}, WorkDir: dir + "/work", ReadPaths: []string{dir + "/seed"},
		WritePaths: []string{dir + "/disk"},
	}, units.Program{Path: "/bin/sleep"})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Concat(spec.Read, spec.Write, spec.Exec, spec.Devices) {
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			t.Errorf("%s is not pinned", path)
		}
	}
	if want := []string{dir + "/seed"}; !slices.Equal(spec.PinnedRead, want) {
		t.Errorf("got %v to read, want %v", spec.PinnedRead, want)
	}
	if want := []string{dir + "/disk", dir + "/work"}; !slices.Equal(spec.PinnedWrite, want) {
		t.Errorf("got %v to write, want %v", spec.PinnedWrite, want)
	}
	if spec.Dir != dir+"/work" {
		t.Errorf("it starts in %s", spec.Dir)
	}
}
