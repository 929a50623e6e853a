package sandbox

import "golang.org/x/sys/unix"

// gapDenials closes what other mechanisms leave open.
func gapDenials(spec *Spec) []denied {
	refuse := func(number uintptr, when ...condition) denied {
		return denied{number: number, when: when, errno: unix.EPERM}
	}
	list := []denied{
		// With a limit of 1 the kernel does not start its core dump program, which runs as root; with 0 it does.
		refuse(unix.SYS_SETRLIMIT, equal(0, unix.RLIMIT_CORE)),
		refuse(unix.SYS_PRLIMIT64, equal(1, unix.RLIMIT_CORE)),
	}
	if !spec.mounts() && !spec.Watch { // Landlock lets everybody be told of what happens in any directory
		list = append(list, refuse(unix.SYS_INOTIFY_ADD_WATCH))
	}
	if spec.User == nil {
		list = append(list, neighbourDenials(refuse)...)
	}
	return append(list, pathDenials(spec, refuse)...)
}

// neighbourDenials keep a process from limiting and slowing down others of its user, which Landlock allows: when it has
// no user of its own, the server among them.
func neighbourDenials(refuse func(number uintptr, when ...condition) denied) []denied {
	list := []denied{
		refuse(unix.SYS_PRLIMIT64, above(0, 0)),
		refuse(unix.SYS_SETPRIORITY, above(0, unix.PRIO_PROCESS)), refuse(unix.SYS_SETPRIORITY, above(1, 0)),
		refuse(unix.SYS_IOPRIO_SET, above(0, ioprioProcess)), refuse(unix.SYS_IOPRIO_SET, above(1, 0)),
	}
	for _, number := range []uintptr{
		unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETATTR,
		unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	} {
		list = append(list, refuse(number, above(0, 0)))
	}
	return list
}

// ioprioProcess is IOPRIO_WHO_PROCESS.
const ioprioProcess = 1

// pathDenials close the ways past Landlock's port rules, and past the denial of unix sockets.
func pathDenials(spec *Spec, refuse func(number uintptr, when ...condition) denied) []denied {
	var list []denied
	if !spec.UnixSockets { // one of a pair of datagram sockets can be connected to any other socket
		for _, kind := range []uint32{unix.SOCK_DGRAM, unix.SOCK_RAW} {
			list = append(list, refuse(unix.SYS_SOCKETPAIR,
				condition{argument: argType, mask: socketTypeMask, jump: unix.BPF_JEQ, value: kind}))
		}
	}
	if spec.AllTCP {
		return list
	}
	// The first data of a connection may go out with a call that connects by itself.
	list = append(list,
		refuse(unix.SYS_SENDTO, anyOf(3, unix.MSG_FASTOPEN)), refuse(unix.SYS_SENDMSG, anyOf(2, unix.MSG_FASTOPEN)),
		refuse(unix.SYS_SENDMMSG, anyOf(3, unix.MSG_FASTOPEN)))
	if len(spec.TCPListen) == 0 && !spec.UnixSockets { // who listens without having bound gets a port all the same
		list = append(list, refuse(unix.SYS_LISTEN))
	}
	return list
}
