// Package drivertest is the conformance kit: it says whether a program is a driver. A vendor describes the driver and
// what to test it on in a Harness and calls Run; every check is named by the sentence of the contract it holds the
// driver to, so that the list of passed checks can be published. The kit sees a driver only as the engine does, over
// its socket, and must never know a particular one, nor the engine.
//
// # Writing a harness
//
// The driver runs as a process of its own, the way it will in production. The test binary is that process:
//
//	func TestMain(m *testing.M) { os.Exit(drivertest.Main(m, filestorage.New)) }
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, drivertest.Harness{
//			Start: drivertest.Process(drivertest.ProcessOptions{}),
//			Storage: &drivertest.Storage{
//				Pool: func(t T) drivertest.Properties {
//					return drivertest.Properties{"path": t.TempDir()}
//				},
//				BadPools: []drivertest.BadSetting{{
//					Name: "path-missing", Code: "path-missing",
//					Properties: func(T) drivertest.Properties {
//						return drivertest.Properties{"path": "/nowhere"}
//					},
//				}},
//				Write: writeFile, Read: readFile,
//			},
//		})
//	}
//
// Process starts the test binary once more and hands it the listener as descriptor 3. Kill is a real SIGKILL, so the
// checks that kill the driver in the middle of a call mean what they say. A driver that asks its host for data-path
// processes gets the host in ProcessOptions.Host. InProcess serves the driver inside the test on a unix socket, for
// coverage and debuggers; its Kill only cuts the connections and ends the contexts. InMemory does the same without a
// socket, for drivers that live in memory, inside testing/synctest bubbles.
//
// Outside go test Verify runs the checks; package hosted starts drivers for it as a server does, in their sandbox, and
// package settings makes harnesses from files. That is the command bulkhead driver test.
//
// # What is checked
//
// All drivers: negotiation, honest description, idempotence by token and by id, refusal of a reused token, recall,
// the fence of epochs, deadlines, cancels and lost answers, kill -9 in the middle of each call followed by a repeat,
// calls that arrive late, adopt and release, handles, observe, calls on different resources at the same time, values at
// the edges of what is allowed, secrets, what is left behind, bad input, that each fault has a class, a code and words,
// and swaps with itself, or from an older version, while callers go on. Each category adds what its service promises.
// What a driver does not declare as a capability it must refuse with CLASS_UNSUPPORTED, and what it declares must work.
//
// Run runs each check as a subtest. Evaluate and Verify give the results as data, with the sentence of the contract
// behind each (citation.go) and the last calls of those that failed.
package drivertest
