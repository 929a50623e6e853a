package sandbox

import "golang.org/x/sys/unix"

const (
	nativeArch = unix.AUDIT_ARCH_X86_64
	// foreignNumbers is where the x32 calls begin.
	foreignNumbers = 0x40000000
)

// archDenied are calls that only this architecture has.
var archDenied = []uintptr{
	unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_USELIB, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MKNOD,
	unix.SYS_NFSSERVCTL,
}
