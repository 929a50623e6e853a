package netspace

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// onOwnThread runs work on a thread that nothing else ever runs on: work may change the thread's namespaces and need
// not change them back, since the thread ends with it. That is what makes a failed way back harmless.
func onOwnThread(work func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't end and stands for the process in /proc/self. While it is held here, the
			// next goroutine gets another one.
			done <- onOwnThread(work)
			runtime.UnlockOSThread()
			return
		}
		done <- guarded(work) // the goroutine ends locked, and its thread with it
	}()
	return <-done
}

// guarded turns a panic into an error: here it would end the process, out of reach of who recovers for the caller.
func guarded(work func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic in a network namespace: %v\n%s", cause, debug.Stack())
		}
	}()
	return work()
}
