package drivertest

import "context"

// T is what a check speaks to, and what the functions of a harness get. A *testing.T is one; outside of go test the
// kit has its own.
type T interface {
	Speaker
	// Helper marks a function whose place says nothing.
	Helper()
	// Failed tells whether anything was reported as wrong.
	Failed() bool
	// Cleanup adds what is done when the check is over, the latest first.
	Cleanup(f func())
	// TempDir returns a new directory, which is removed when the check is over.
	TempDir() string
	// Context ends just before what Cleanup added is done.
	Context() context.Context
}

// Speaker takes what a check has to say. Error reports something wrong, and Fatal ends the check with it.
type Speaker interface {
	Log(args ...any)
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}
