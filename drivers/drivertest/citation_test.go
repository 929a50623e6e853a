package drivertest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestEveryCheckCitesTheContract: no check stands on nothing, and what it cites is written there.
func TestEveryCheckCitesTheContract(t *testing.T) {
	world := simworld.New()
	h := simulator(t, world, func(env sdk.Environment) (sdk.Driver, error) {
		return sim.NewDriver(world, sim.Options{Instance: env.Instance}), nil
	})
	contract := map[string]string{}
	for name, cited := range drivertest.Cited(t, h) {
		file, place, _ := strings.Cut(cited.Place, ", ")
		if place == "" || cited.Text == "" {
			t.Errorf("%q cites nothing", name)
			continue
		}
		if contract[file] == "" {
			contract[file] = words(t, file)
		}
		if !strings.Contains(contract[file], cited.Text) {
			t.Errorf("%q: %s does not say %q", name, file, cited.Text)
		}
	}
	if len(contract) != 6 {
		t.Errorf("only %d files of the contract are cited", len(contract))
	}
}

// words are the comments of a file of the contract, without their line breaks.
func words(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "contract", "bulkhead", "driver", "v1", file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(string(text), "//", " ")), " ")
}
