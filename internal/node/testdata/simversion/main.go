// Simversion is the simulator under another version, for archives that tests make. It counts something.
package main

import (
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

var version = "0.0.0" // set by the linker

func main() {
	os.Exit(sdk.Main(func(env sdk.Environment) (sdk.Driver, error) {
		d, err := sim.New(env)
		d.Version = version
		starts := prometheus.NewCounter(prometheus.CounterOpts{Name: "starts_total", Help: "Times that it was started."})
		starts.Inc()
		registry := prometheus.NewRegistry()
		registry.MustRegister(starts)
		d.Metrics = registry
		return d, err
	}))
}
