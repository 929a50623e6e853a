package hosted_test

import (
	"os"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/hosted"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
)

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, config hosted.Config) *hosted.Lab {
	t.Helper()
	lab, err := hosted.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

// TestADriverIsTestedAsInProduction: what passes inside go test passes in the sandbox, by a runner without go test.
func TestADriverIsTestedAsInProduction(t *testing.T) {
	lab := open(t, hosted.Config{Manifest: sim.Manifest(executable(t))})
	world := lab.Scratch() + "/world"
	if err := os.Mkdir(world, 0o700); err != nil {
		t.Fatal(err)
	}
	seen := 0
	made, err := drivertest.Verify(t.Context(), drivertest.Harness{
		Start: lab.Start, Beside: lab.Beside, Alone: true,
		Only:    []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		Storage: &drivertest.Storage{Pool: func(drivertest.T) drivertest.Properties { return nil }},
		Limits:  drivertest.Limits{KillPoints: 1},
	}, drivertest.Options{
		Scratch: lab.Scratch(), Done: func(report.Check) { seen++ },
		Select: func(name string) bool {
			return strings.HasPrefix(name, "Base: ") || strings.HasPrefix(name, "Storage.CreateVolume: ")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !made.OK() || seen != len(made.Checks) || made.Driver != sim.Name || lab.Isolation().Level == "" {
		var text strings.Builder
		if err := made.WriteText(&text); err != nil {
			t.Error(err)
		}
		t.Errorf("%d checks seen, isolation %q\n%s", seen, lab.Isolation().Level, text.String())
	}
}
