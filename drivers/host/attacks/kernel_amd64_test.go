package attacks_test

import (
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// architectureAttacks make calls by numbers of another architecture, which a filter could miss.
func architectureAttacks() []attack {
	return []attack{{
		name: "call the kernel by other numbers", stops: []string{sandbox.MechanismSyscalls},
		kernelToo: true, needsHost: true,
		try: func(*hostile) error { return number(0x40000000 | unix.SYS_GETPID)() },
	}}
}
