// Package sdk turns Go code into a Bulkhead driver process. It serves the contract on the inherited listener and
// does for every driver what none should have to write: version negotiation, the token memory that makes calls
// idempotent, the epoch fence, one mutating call per resource at a time, Recall and progress, faults, panics,
// logging, the orphan rule and the graceful end. It knows the contract only: never the engine, the state, the
// host's process handling or any particular driver.
//
// # What a driver may rely on
//
// A mutating call (all but Stat*, Probe, Recall, Observe, OpenConsole, DesignNetwork and the calls without a
// resource) runs at most once at a time per resource; a second one waits within its own deadline. Reads always get
// through. A mutating call outlives the connection it came on, so that a restart of the server loses no work; its
// context ends when the deadline of the last caller has passed, when a caller cancels on a live connection, or when
// the process stops. Refs in requests are checked against the id syntax before the driver sees them.
//
// # Tokens
//
// A call is known by token, method and resource. Asked again while it runs, the second caller joins and gets the
// same answer; asked again after it succeeded, the remembered answer is given; after it failed, the driver is asked
// again with Call.Repeat set. The same token with another request is INVALID "token-reused". What may change between
// two askings is repeat, epoch, handles, properties and secrets. A step that does a thing anew, after it was undone,
// needs a new token.
//
// # Tests
//
// A driver under test is served in-process by ServeListener on a unix socket. A fake of Host goes straight into
// Environment.Host. To test over the wire as well, make the driver with a HostLink as its Host, give the same link
// to ServeListener, and answer it from the client's side:
//
//	link := sdk.NewHostLink()
//	driver, err := mydriver.New(sdk.Environment{Host: link, ...})
//	go sdk.ServeListener(ctx, listener, driver, link)
//	go sdk.Attend(ctx, conn, fakeHost) // fakeHost implements sdk.Host
package sdk
