package main

import (
	"path"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

const (
	faultyProduct = "bench/faulty"
	wellProduct   = "bench/well"
	// faultyMemory is what the driver may leak before it is stopped.
	faultyMemory = 512 << 20
)

// otherDriver is the simulator once more, under a name and in a process of its own,
// so that it can go wrong beside a healthy one.
func otherDriver(product string) node.BuiltIn {
	process := path.Base(product)
	return node.BuiltIn{
		Name: process,
		New: func(env sdk.Environment) (sdk.Driver, error) {
			d, err := sim.New(env)
			d.Name = product
			return d, err
		},
		Manifest: func(executable string) host.Manifest {
			m := sim.Manifest(executable)
			m.Name, m.Command = product, []string{executable, "driver-process", process}
			m.Limits.MemoryBytes = faultyMemory
			return m
		},
	}
}
