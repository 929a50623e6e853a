package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// urgently runs fn while the threads of this process and of others come before all
// that is not urgent on this machine: what is measured is the server then, and not
// how long the kernel let it wait because of somebody else's work.
func urgently(fn func() error, pids ...int) error {
	pids = append(pids, os.Getpid())
	err := schedule(unix.SCHED_RR, 1, pids)
	if err == nil {
		err = fn()
	}
	return errors.Join(err, schedule(unix.SCHED_NORMAL, 0, pids))
}

// schedule sets the policy of all threads of processes; those they start inherit
// it.
func schedule(policy, priority uint32, pids []int) error {
	for _, pid := range pids {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return fmt.Errorf("listing the threads of process %d: %w", pid, err)
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				return fmt.Errorf("reading the name of a thread: %w", err)
			}
			attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
			if err := unix.SchedSetAttr(id, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("setting the priority of process %d: %w", pid, err)
			}
		}
	}
	return nil
}
