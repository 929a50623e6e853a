package attacks_test

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// Limits of the hostile driver, and what it tries to have.
const (
	openFiles  = 200
	processes  = 48
	fileBytes  = 8 << 20
	tooMuch    = memory + 64<<20
	tooMany    = 2*processes + 40 // the limit of a user is twice that of one driver
	pageOfData = 4096
)

func resourceAttacks() []attack {
	limits := []string{sandbox.MechanismRlimits}
	return []attack{
		{name: "open more files than declared", stops: limits, try: openMany},
		{name: "write a larger file than declared", stops: limits, try: writeLarge},
		{
			name: "start more processes than declared", try: startMany,
			stops: []string{sandbox.MechanismProcesses, sandbox.MechanismUser},
		},
		{
			name: "use more memory than declared", stops: []string{sandbox.MechanismRlimits, sandbox.MechanismMemory},
			try: func(*hostile) error { return useMemory(unix.MAP_PRIVATE) },
		},
		{
			name: "use more shared memory than declared", stops: []string{sandbox.MechanismMemory},
			try: func(*hostile) error { return useMemory(unix.MAP_SHARED) },
		},
	}
}

func openMany(*hostile) error {
	var open []int
	defer func() {
		for _, fd := range open {
			_ = unix.Close(fd)
		}
	}()
	for range 2 * openFiles {
		fd, err := unix.Dup(1)
		if err != nil {
			return limited(len(open), openFiles, err)
		}
		open = append(open, fd)
	}
	return nil
}

func writeLarge(*hostile) error {
	file, err := os.Create("large")
	if err != nil {
		return err
	}
	defer func() { _, _ = file.Close(), os.Remove("large") }()
	_, err = file.WriteAt([]byte("x"), 2*fileBytes)
	return err
}

func startMany(*hostile) error {
	var started []*exec.Cmd
	defer func() {
		for _, child := range started {
			_ = child.Process.Kill()
			_ = child.Wait()
		}
	}()
	for range tooMany {
		child := exec.Command("/bin/sleep", "30")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			return limited(len(started), tooMany, err)
		}
		started = append(started, child)
	}
	return nil
}

func useMemory(kind int) error {
	block, err := unix.Mmap(-1, 0, tooMuch, unix.PROT_READ|unix.PROT_WRITE, kind|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < len(block); i += pageOfData {
		block[i] = 1
	}
	return unix.Munmap(block)
}
