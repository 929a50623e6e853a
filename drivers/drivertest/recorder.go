package drivertest

import (
	"context"
	"fmt"
	"runtime"
)

// Name implements testing.TB.
func (r *recorder) Name() string { return r.name }

// Context implements testing.TB.
func (r *recorder) Context() context.Context { return r.context }

// Helper implements testing.TB.
func (r *recorder) Helper() {}

// Cleanup implements testing.TB.
func (r *recorder) Cleanup(f func()) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// Failed implements testing.TB.
func (r *recorder) Failed() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.failed
}

// Fail implements testing.TB.
func (r *recorder) Fail() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.failed = true
}

// FailNow implements testing.TB.
func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

// Log implements testing.TB.
func (r *recorder) Log(args ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.log = append(r.log, fmt.Sprint(args...))
}

// Logf implements testing.TB.
func (r *recorder) Logf(format string, args ...any) { r.Log(fmt.Sprintf(format, args...)) }

// Error implements testing.TB.
func (r *recorder) Error(args ...any) {
	r.Log(args...)
	r.Fail()
}

// Errorf implements testing.TB.
func (r *recorder) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (r *recorder) Fatal(args ...any) {
	r.Log(args...)
	r.FailNow()
}

// Fatalf implements testing.TB.
func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }
