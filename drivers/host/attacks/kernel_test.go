package attacks_test

import (
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// nowhere is an address at which nothing is.
const nowhere = 1

func kernelAttacks() []attack {
	filter := []string{sandbox.MechanismSyscalls}
	both := []string{sandbox.MechanismSyscalls, sandbox.MechanismCapabilities}
	all := []attack{
		call("load a module", both, number(unix.SYS_INIT_MODULE, nowhere, 1, nowhere)),
		call("load a module from a file", both, number(unix.SYS_FINIT_MODULE, ^uintptr(0), nowhere, 0xff)),
		call("load another kernel", both, number(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0xffff)),
		call("restart the machine", both, number(unix.SYS_REBOOT, 0, 0, 0)),
		call("set the clock", both, number(unix.SYS_SETTIMEOFDAY, 0, 0)),
		call("rename the machine", both, number(unix.SYS_SETHOSTNAME, nowhere, 4)),
		call("swap to a file", both, number(unix.SYS_SWAPON, nowhere, 0)),
		call("keep account of processes", both, number(unix.SYS_ACCT, nowhere)),
		call("read the kernel's messages", both, number(unix.SYS_SYSLOG, 3, nowhere, 1)),
		call("use bpf", filter, number(unix.SYS_BPF, 0, nowhere, 8)),
		call("use the keyring", filter, number(unix.SYS_KEYCTL, 0, 0xfffffffc, 0)),
		call("count processor events", filter, number(unix.SYS_PERF_EVENT_OPEN, nowhere, 0, 0)),
		call("handle page faults", filter, number(unix.SYS_USERFAULTFD, 1)),
		call("watch file systems", both, number(unix.SYS_FANOTIFY_INIT, 0xffff)),
		call("change its personality", filter, number(unix.SYS_PERSONALITY, 0xffffffff)),
		call("compare files with the server", filter, number(unix.SYS_KCMP, ^uintptr(0), ^uintptr(0), 0)),
		{
			name: "use io_uring", stops: filter, kernelToo: true,
			try: func(*hostile) error {
				parameters := [256]byte{}
				return number(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&parameters)))()
			},
		},
	}
	for i := range all {
		all[i].kernelToo = true // many are switched off or left out on some machines
	}
	return all
}

func namespaceAttacks() []attack {
	both := []string{sandbox.MechanismSyscalls, sandbox.MechanismCapabilities}
	filter := []string{sandbox.MechanismSyscalls}
	cloned := func(flags uintptr) func(*hostile) error {
		return func(*hostile) error {
			child := exec.Command("/bin/true")
			child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
			return child.Run()
		}
	}
	return []attack{
		{name: "mount", stops: both, try: func(*hostile) error {
			if err := unix.Mount("t", ".", "tmpfs", 0, ""); err != nil {
				return err
			}
			return unix.Unmount(".", unix.MNT_DETACH)
		}},
		call("mount in the new ways", both, number(unix.SYS_FSOPEN, nowhere, 0)),
		call("copy the tree of mounts", both, number(unix.SYS_OPEN_TREE_ATTR, ^uintptr(0), nowhere, 1)),
		{
			name: "unshare the network", stops: both,
			try: func(*hostile) error { return inThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }) },
		},
		{name: "enter a namespace", stops: both, try: enterNamespace},
		{name: "begin a user namespace", stops: filter, kernelToo: true, try: cloned(syscall.CLONE_NEWUSER)},
		{name: "begin a network namespace", stops: both, try: cloned(syscall.CLONE_NEWNET)},
		{
			name: "begin namespaces by clone3", stops: filter,
			try: func(*hostile) error { return refusedWith(unix.ENOSYS, number(unix.SYS_CLONE3, nowhere, 1)) },
		},
	}
}

func enterNamespace(*hostile) error {
	fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return inThread(func() error { return unix.Setns(fd, unix.CLONE_NEWNET) })
}
