package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The filter denies what no driver needs and lets the rest through: EPERM, not death, so that libraries degrade.
// Calls of another architecture end the process, since their numbers would slip past the list.

// call is one denied system call, always or when all conditions on its arguments hold.
type denied struct {
	number uintptr
	when   []condition
	errno  unix.Errno
}

// condition compares the low 32 bits of an argument, masked, with a value. The arguments looked at are ints or
// flags whose meaning is all in these bits.
type condition struct {
	argument uint32
	mask     uint32
	jump     uint16
	value    uint32
	negate   bool
}

const allBits = 0xffffffff

func equal(argument, value uint32) condition {
	return condition{argument: argument, mask: allBits, jump: unix.BPF_JEQ, value: value}
}

func above(argument, value uint32) condition {
	return condition{argument: argument, mask: allBits, jump: unix.BPF_JGT, value: value}
}

func notAbove(argument, value uint32) condition {
	return condition{argument: argument, mask: allBits, jump: unix.BPF_JGT, value: value, negate: true}
}

func anyOf(argument, bits uint32) condition {
	return condition{argument: argument, mask: allBits, jump: unix.BPF_JSET, value: bits}
}

// alwaysDenied by none of the capabilities below.
var alwaysDenied = []uintptr{
	unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE,
	unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_SYSLOG,
	unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SETHOSTNAME,
	unix.SYS_SETDOMAINNAME, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_PERSONALITY,
	unix.SYS_VHANGUP, unix.SYS_FANOTIFY_INIT, unix.SYS_PIVOT_ROOT, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_QUOTACTL_FD,
}

// deniedWithout maps a capability to the calls that are denied to who does not keep it.
var deniedWithout = map[string][]uintptr{
	"sys_admin": {
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSCONFIG,
		unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_TREE_ATTR,
	},
	"sys_ptrace": {unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV},
	"sys_chroot": {unix.SYS_CHROOT},
	"mknod":      {unix.SYS_MKNODAT},
	"bpf":        {unix.SYS_BPF},
	"perfmon":    {unix.SYS_PERF_EVENT_OPEN},
	"sys_time":   {unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME},
}

const (
	argDomain, argType, argProtocol = 0, 1, 2
	socketTypeMask                  = 0xf
	newNamespaces                   = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
)

// denials lists what spec is not to do.
func denials(spec *Spec) []denied {
	var list []denied
	for _, number := range slices.Concat(alwaysDenied, archDenied) {
		list = append(list, denied{number: number, errno: unix.EPERM})
	}
	for capability, numbers := range deniedWithout {
		if slices.Contains(spec.Capabilities, capability) {
			continue
		}
		for _, number := range numbers {
			list = append(list, denied{number: number, errno: unix.EPERM})
		}
	}
	flags := uint32(newNamespaces)
	if spec.mounts() {
		flags = unix.CLONE_NEWUSER
	}
	list = append(list,
		denied{number: unix.SYS_CLONE, when: []condition{anyOf(0, flags)}, errno: unix.EPERM},
		// The flags of clone3 are behind a pointer; without it libc and Go fall back to clone.
		denied{number: unix.SYS_CLONE3, errno: unix.ENOSYS})
	return slices.Concat(list, gapDenials(spec), socketDenials(spec))
}

// socketDenials restricts socket(2): Landlock sees TCP only, not MPTCP (which Go listens with by default), UDP,
// SCTP or raw sockets, and no unix socket with a path.
func socketDenials(spec *Spec) []denied {
	refuse := func(when ...condition) denied {
		return denied{number: unix.SYS_SOCKET, when: when, errno: unix.EACCES}
	}
	raw := slices.Contains(spec.Capabilities, "net_raw")
	last := uint32(unix.AF_NETLINK)
	if raw {
		last = unix.AF_PACKET
	}
	list := []denied{
		refuse(above(argDomain, last)),
		refuse(above(argDomain, unix.AF_INET), notAbove(argDomain, unix.AF_INET6-1)),
		refuse(above(argDomain, unix.AF_INET6), notAbove(argDomain, unix.AF_NETLINK-1)),
	}
	if !spec.UnixSockets {
		list = append(list, refuse(equal(argDomain, unix.AF_UNIX)))
	}
	if !slices.Contains(spec.Capabilities, "net_admin") { // routes and addresses are all that libraries ask for
		list = append(list, refuse(equal(argDomain, unix.AF_NETLINK), above(argProtocol, unix.NETLINK_ROUTE)))
	}
	tcp := spec.AllTCP || len(spec.TCPConnect)+len(spec.TCPListen) > 0
	for _, domain := range []uint32{unix.AF_INET, unix.AF_INET6} {
		kind := func(t uint32) []condition {
			return []condition{
				equal(argDomain, domain), {argument: argType, mask: socketTypeMask, jump: unix.BPF_JEQ, value: t},
			}
		}
		list = append(list, refuse(kind(unix.SOCK_RDM)...), refuse(kind(unix.SOCK_SEQPACKET)...),
			refuse(kind(unix.SOCK_DCCP)...), refuse(kind(unix.SOCK_PACKET)...))
		if !raw {
			list = append(list, refuse(kind(unix.SOCK_RAW)...))
		}
		list = append(list, streams(kind(unix.SOCK_STREAM), tcp, refuse), datagrams(kind(unix.SOCK_DGRAM), spec.UDP, refuse))
	}
	return list
}

func streams(kind []condition, allowed bool, refuse func(...condition) denied) denied {
	if allowed {
		return refuse(append(kind, above(argProtocol, unix.IPPROTO_TCP))...)
	}
	return refuse(kind...)
}

func datagrams(kind []condition, allowed bool, refuse func(...condition) denied) denied {
	if allowed {
		return refuse(append(kind, above(argProtocol, unix.IPPROTO_UDP))...)
	}
	return refuse(kind...)
}

// Offsets in struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// assemble makes the BPF program: per denial a block that falls through to the next when it does not match.
func assemble(list []denied) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	ret := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	jump := func(kind uint16, value uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | kind | unix.BPF_K, K: value, Jt: uint8(yes), Jf: uint8(no)}
	}
	program := []unix.SockFilter{
		load(offsetArch),
		jump(unix.BPF_JEQ, nativeArch, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
		jump(unix.BPF_JGE, foreignNumbers, 0, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
	}
	for _, d := range list {
		block := []unix.SockFilter{}
		for i, c := range d.when {
			left := (len(d.when)-i-1)*3 + 1 // instructions of this block after this condition
			yes, no := 0, left
			if c.negate {
				yes, no = left, 0
			}
			block = append(block, load(offsetArgs+8*c.argument),
				unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: c.mask},
				jump(c.jump, c.value, yes, no))
		}
		block = append(block, ret(unix.SECCOMP_RET_ERRNO|uint32(d.errno)))
		program = append(program, load(offsetNumber), jump(unix.BPF_JEQ, uint32(d.number), 0, len(block)))
		program = append(program, block...)
	}
	return append(program, ret(unix.SECCOMP_RET_ALLOW))
}

// restrictCalls applies seccomp to this thread; it needs no_new_privs.
func restrictCalls(spec *Spec, report *Report) error {
	program := assemble(denials(spec))
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter)))
	switch {
	case errno == 0:
		report.Apply(MechanismSyscalls)
		return nil
	case errors.Is(errno, unix.ENOSYS) || errors.Is(errno, unix.EINVAL):
		report.Miss(MechanismSyscalls, "the kernel is built without CONFIG_SECCOMP_FILTER", "use a kernel with seccomp")
		return nil
	}
	return fmt.Errorf("applying seccomp: %w", errno)
}
