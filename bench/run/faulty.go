package main

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

const (
	faultyProduct = "bench/faulty"
	faultyProcess = "faulty"
	// faultyMemory is what the driver may leak before it is stopped.
	faultyMemory = 512 << 20
)

// faultyDriver is the simulator once more, under a name and in a process of its
// own, so that it can go wrong beside a healthy one.
func faultyDriver() node.BuiltIn {
	return node.BuiltIn{
		Name: faultyProcess,
		New: func(env sdk.Environment) (sdk.Driver, error) {
			d, err := sim.New(env)
			d.Name = faultyProduct
			return d, err
		},
		Manifest: func(executable string) host.Manifest {
			m := sim.Manifest(executable)
			m.Name, m.Command = faultyProduct, []string{executable, "driver-process", faultyProcess}
			m.Limits.MemoryBytes = faultyMemory
			return m
		},
	}
}
