package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// become changes user, groups and capabilities of this thread. Only the thread that executes the program counts, so
// the raw calls are used, which do not synchronise with Go's other threads.
func become(spec *Spec, report *Report) error {
	may, err := permitted()
	if err != nil {
		return err
	}
	keep := bits(spec.Capabilities) & may
	if lost := bits(spec.Capabilities) &^ may; lost != 0 {
		report.Miss("capability-grant", "the server itself lacks one of: "+strings.Join(spec.Capabilities, ", "),
			"run the server as root or give its unit AmbientCapabilities=")
	}
	if may&(1<<unix.CAP_SETPCAP) != 0 {
		if err := dropBounding(keep); err != nil {
			return err
		}
	}
	if spec.User != nil {
		if err := changeUser(spec.User); err != nil {
			return err
		}
		report.Apply(MechanismUser)
	} else {
		report.Miss(MechanismUser, "the server is not root, all drivers run as its user", "run the server as root")
	}
	if err := setCapabilities(keep); err != nil {
		return err
	}
	report.Apply(MechanismCapabilities)
	return nil
}

func changeUser(user *User) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping capabilities over the change of user: %w", err)
	}
	groups := slices.Clone(user.Groups)
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); errno != 0 {
		return fmt.Errorf("setting groups %v: %w", groups, errno)
	}
	gid, uid := uintptr(user.GID), uintptr(user.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("becoming group %d: %w", gid, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("becoming user %d: %w", uid, errno)
	}
	return nil
}

// limit sets the resource limits. Limits are only ever lowered.
func limit(spec *Spec, report *Report) {
	wanted := []struct {
		name     string
		resource int
		value    uint64
	}{
		{"memory", unix.RLIMIT_DATA, spec.Limits.DataBytes},
		{"open files", unix.RLIMIT_NOFILE, spec.Limits.OpenFiles},
		{"processes", unix.RLIMIT_NPROC, spec.Limits.Processes},
		{"file size", unix.RLIMIT_FSIZE, spec.Limits.FileBytes},
	}
	var failed error
	for _, want := range wanted {
		if want.value != 0 {
			failed = errors.Join(failed, lower(want.name, want.resource, want.value))
		}
	}
	failed = errors.Join(failed, unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1})) // see gapDenials
	if failed != nil {
		report.Miss(MechanismRlimits, failed.Error(), "")
		return
	}
	report.Apply(MechanismRlimits)
}

func lower(name string, resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return fmt.Errorf("reading the limit of %s: %w", name, err)
	}
	value = min(value, now.Max)
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("limiting %s to %d: %w", name, value, err)
	}
	return nil
}

// enterNetwork moves this thread into a network namespace.
func enterNetwork(path string) error {
	if path == "" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening network namespace %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering network namespace %s: %w", path, err)
	}
	return nil
}
