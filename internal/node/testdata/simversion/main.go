// Simversion is the simulator under another version, for archives that tests make.
package main

import (
	"os"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

var version = "0.0.0" // set by the linker

func main() {
	os.Exit(sdk.Main(func(env sdk.Environment) (sdk.Driver, error) {
		d, err := sim.New(env)
		d.Version = version
		return d, err
	}))
}
