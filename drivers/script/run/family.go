package run

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sweepTime bounds the ending of what a program left behind.
	sweepTime = 5 * time.Second
	// lastPID is the highest process id that Linux gives.
	lastPID = 4 << 20
	// blindWindow is how many process ids are looked at when the newest one can't be read.
	blindWindow = 64 << 10
)

// Family starts programs and ends what they leave behind. A process has one, see Here, and starts nothing else in
// sessions of their own. Safe for concurrent use.
//
// The process is the one that orphans come to. An orphan in the session of a program that still runs is left to it;
// any other is ended: it lost its parent, and its program has ended or it left its program's session.
type Family struct {
	mutex   sync.Mutex
	leaders map[int]bool // programs that run
	session int          // our own
}

// Here is the family of this process, which becomes the one that orphans come to.
func Here() (*Family, error) { return here() }

// here is made once: what comes to a process comes to all of it.
var here = sync.OnceValues(func() (*Family, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("becoming the reaper of what scripts leave behind: %w", err)
	}
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("finding the session of this process: %w", err)
	}
	return &Family{leaders: map[int]bool{}, session: session}, nil
})

// end ends what the program that was leader left behind, and tells how many processes that were.
func (f *Family) end(leader int) (left int) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	delete(f.leaders, leader)
	ended := map[int]bool{}
	pause := 100 * time.Microsecond
	for until := time.Now().Add(sweepTime); ; {
		orphans := f.orphans(leader)
		_ = syscall.Kill(-leader, syscall.SIGKILL) // its group at once, if anything is left of it
		for _, pid := range orphans {
			if !ended[pid] {
				ended[pid] = true
				left++
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(orphans) == 0 || time.Now().After(until) {
			return left
		}
		time.Sleep(pause) // they die at once, unless they hang in the kernel
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// orphans finds living processes that came to us and belong to no program that runs, and reaps dead ones. No list of
// processes is needed, which a confined process can't have: only ids given since the leader's are looked at.
func (f *Family) orphans(leader int) []int {
	var found []int
	newest, ok := newestPID()
	if !ok {
		newest = leader + blindWindow
	}
	look := func(from, to int) {
		for pid := from; pid <= to; pid++ {
			if f.orphan(pid) {
				found = append(found, pid)
			}
		}
	}
	if newest >= leader {
		look(leader+1, newest)
	} else { // ids began again from below
		look(leader+1, lastPID)
		look(2, newest)
	}
	return found
}

// orphan tells whether pid is a living orphan to be ended; a dead one is reaped.
func (f *Family) orphan(pid int) bool {
	dead, ours := childState(pid)
	if !ours || f.leaders[pid] {
		return false
	}
	session, err := unix.Getsid(pid)
	if err == nil && (session == f.session || f.leaders[session] && !dead) {
		return false
	}
	if dead {
		_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		return false
	}
	return true
}

// childState tells whether pid is a child of this process, and whether it is dead and waits to be reaped.
func childState(pid int) (dead, ours bool) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return info.Signo != 0, err == nil
	}
}

// newestPID is the process id given last, in the numbers that this process sees.
func newestPID() (int, bool) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) == 0 {
		return 0, false
	}
	pid, err := strconv.Atoi(fields[len(fields)-1])
	return pid, err == nil && pid > 0
}
