package sandbox

import "golang.org/x/sys/unix"

const (
	nativeArch = unix.AUDIT_ARCH_AARCH64
	// foreignNumbers is beyond any call.
	foreignNumbers = 0x40000000
)

// archDenied are calls that only this architecture has.
var archDenied = []uintptr{unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL}
