package accelerator

import (
	_ "embed"
	"time"
)

//go:embed probe.bin
var program []byte

const (
	// romBytes is the smallest firmware QEMU takes; the processor starts at its end.
	romBytes = 64 << 10
	// Instructions is what the program executes, about.
	Instructions = 60_000_000
	// Patience is how long it may take. Hardware needs some 20 ms, TCG some 30 ms; virtualisation that executes
	// instruction by instruction in software, as nested in some clouds, needs 20 s, and a guest minutes to boot.
	Patience = 5 * time.Second
	// Success is QEMU's run state after the program got to its end. Any other state is a failure: "shutdown" after
	// a triple fault, "internal-error" when KVM met what it can't execute.
	Success = "guest-panicked"
)

// ROM is the program as a firmware image.
func ROM() []byte {
	rom := make([]byte, romBytes)
	copy(rom[romBytes-len(program):], program)
	return rom
}
