package attacks_test

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// setting is a server that is attacked: as whom it runs and what its kernel lacks.
type setting struct {
	name    string
	root    bool
	without []string
	// level that it reports on a machine with everything else.
	level sandbox.Level
}

const (
	withoutLandlock = "landlock"
	withoutSeccomp  = "seccomp"
)

func settings() []setting {
	return []setting{
		{name: "all there is", root: true, level: sandbox.LevelStrong},
		{name: "not root", level: sandbox.LevelGood},
		{name: "no Landlock", root: true, without: []string{withoutLandlock}, level: sandbox.LevelBasic},
		{name: "no seccomp", root: true, without: []string{withoutSeccomp}, level: sandbox.LevelBasic},
		{name: "not root, no Landlock", without: []string{withoutLandlock}, level: sandbox.LevelBasic},
		{
			name: "not root, neither", without: []string{withoutLandlock, withoutSeccomp}, level: sandbox.LevelBasic,
		},
	}
}

// takeAway makes the kernel one that lacks mechanisms, for this process and all that come of it: it answers as a kernel
// does that was built without them.
func takeAway(mechanisms []string) error {
	if len(mechanisms) == 0 {
		return nil
	}
	calls := []uint32{}
	if slices.Contains(mechanisms, withoutLandlock) {
		calls = append(calls, unix.SYS_LANDLOCK_CREATE_RULESET)
	}
	if slices.Contains(mechanisms, withoutSeccomp) {
		calls = append(calls, unix.SYS_SECCOMP)
	}
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	for _, number := range calls {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	runtime.LockOSThread() // the others are brought in line with this one
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return fmt.Errorf("filtering calls: %w", errno)
	}
	return nil
}
