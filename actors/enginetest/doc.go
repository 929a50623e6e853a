// Package enginetest is the actor test kit: the real engine around a driver, in one process. A vendor gives the
// function that makes the driver; the kit sets a zone up around it, with the real actors, operations, journal and undo,
// the state in memory, and the simulator for the categories that the driver does not serve. Time is that of a
// testing/synctest bubble, so that deadlines, back-off and care for resources that take hours pass at once.
//
//	func TestVolumeOutlivesACrash(t *testing.T) {
//		enginetest.Run(t, enginetest.Driver{New: newDriver}, func(t *testing.T, z *enginetest.Zone) {
//			z.Make(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{
//				Driver: z.Product(), Properties: map[string]any{"path": t.TempDir()},
//			}})
//			z.Script(enginetest.Fault{Method: "CreateVolume", Call: 1, What: enginetest.CrashAfter})
//			z.Make(&resources.Volume{Meta: resources.Meta{Kind: resources.KindVolume, Name: "data"},
//				Spec: resources.VolumeSpec{SizeBytes: 1 << 30}})
//			z.SameToken("CreateVolume")
//		})
//	}
//
// Faults are put at the border between engine and driver: see What. EveryFault does it at every call that an operation
// makes. When a test is over the kit looks whether the state is consistent, and whether the driver, asked by Observe,
// has exactly what the state says: nothing that was undone is left, nothing is missing, nothing is there twice.
//
// The driver runs on goroutines of the bubble. What it must not do there is wait for other goroutines than those it
// started itself, or for the network: fake time does not pass meanwhile. Files are fine.
//
// The package knows drivers by the contract only, and must never know a particular one but the simulator; what it gives
// to vendors names nothing that is internal to this module.
package enginetest
