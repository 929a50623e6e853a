// Package sim is the driver bulkhead/sim: storage, images, hypervisor, network and out-of-band management
// of simulated hardware, for tests,
// demos and scale. It behaves as a good driver must and goes wrong on request: errors, delays, hangs, crashes before
// or after the effect, lost answers, lies, slow starts, floods and leaks, told to it in the language of simfault by
// property, by a control file in the world's directory, or in code. What it does it does to a simworld.World, which
// outlives it and keeps the ground truth. It must never know the engine, nor keep state of its own beside the world.
//
// # In a process
//
// New makes the driver as a driver process wants it. The driver-wide properties world and journal say where the world
// is; all processes with one world share it.
//
// # In a test
//
//	world := simworld.New()                       // in memory: fit for testing/synctest
//	driver := sim.NewDriver(world, sim.Options{}) // serve it with sdk.ServeListener
//	remove, err := world.Inject(simfault.Rule{Call: "CreateVolume", Nth: 2, Action: simfault.LoseAnswer})
//	truth, err := world.Truth()
package sim
