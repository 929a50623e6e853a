package drivertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
)

// recorder is a T that remembers what was wrong.
type recorder struct {
	scratch string          // where its temporary directories are made
	context context.Context // T has it as a method

	mutex    sync.Mutex
	failed   bool
	failedAt time.Time // first
	log      []string
	cleanups []func()
	journals []*journal
}

// journalKeeper is a T that reports calls.
type journalKeeper interface{ keepJournal(j *journal) }

// record runs a check on a goroutine of its own, as package testing does, and then what is to be cleaned up.
func (r *recorder) record(run func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r.context = ctx
	r.apart(run)
	cancel()
	for {
		last := r.lastCleanup()
		if last == nil {
			return
		}
		r.apart(last)
	}
}

// apart runs f on a goroutine that Fatal can end.
func (r *recorder) apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if cause := recover(); cause != nil {
				r.Errorf("the check itself broke: %v\n%s", cause, debug.Stack())
			}
		}()
		f()
	}()
	<-done
}

func (r *recorder) lastCleanup() func() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.cleanups) == 0 {
		return nil
	}
	last := r.cleanups[len(r.cleanups)-1]
	r.cleanups = r.cleanups[:len(r.cleanups)-1]
	return last
}

func (r *recorder) keepJournal(j *journal) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.journals = append(r.journals, j)
}

// result is what became of the check.
func (r *recorder) result(c check, took time.Duration) report.Check {
	made := report.Check{
		Name: c.name, Verdict: report.Passed, Contract: sentenceOf(c.name), Seconds: took.Seconds(), Log: r.log,
	}
	if r.failed {
		made.Verdict = report.Failed
		for _, j := range r.journals {
			made.Calls = append(made.Calls, j.tell(r.failedAt)...)
		}
	}
	return made
}

// Context implements T.
func (r *recorder) Context() context.Context { return r.context }

// Helper implements T.
func (r *recorder) Helper() {}

// TempDir implements T.
func (r *recorder) TempDir() string {
	dir, err := os.MkdirTemp(r.scratch, "kit")
	if err == nil && r.scratch != "" {
		err = os.Chmod(dir, 0o711) // drivers with users of their own get through
	}
	if err != nil {
		r.Fatalf("making a directory: %v", err)
	}
	r.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.Errorf("removing %s: %v", dir, err)
		}
	})
	return dir
}

// Cleanup implements T.
func (r *recorder) Cleanup(f func()) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// Failed implements T.
func (r *recorder) Failed() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.failed
}

func (r *recorder) fail() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if !r.failed {
		r.failed, r.failedAt = true, time.Now()
	}
}

// Log implements T.
func (r *recorder) Log(args ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.log = append(r.log, fmt.Sprint(args...))
}

// Logf implements T.
func (r *recorder) Logf(format string, args ...any) { r.Log(fmt.Sprintf(format, args...)) }

// Error implements T.
func (r *recorder) Error(args ...any) {
	r.Log(args...)
	r.fail()
}

// Errorf implements T.
func (r *recorder) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

// Fatal implements T.
func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

// Fatalf implements T.
func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }
