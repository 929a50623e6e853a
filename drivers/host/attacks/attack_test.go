package attacks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// attack is one thing that a hostile driver tries.
type attack struct {
	group, name string
	// stops are mechanisms each of which refuses it by itself.
	stops []string
	// try is done in the driver process and is nil when it was possible. What kills the process was not.
	try func(*hostile) error
	// tryAtHost is done in the server instead, with drivers of its own.
	tryAtHost func(context.Context, *server) error
	// kernelToo: some kernels refuse it anyway, by their settings.
	kernelToo bool
	// needsHost: it can't be tried without a sandbox, to see that it works.
	needsHost bool
}

// byHost stands for the host itself, which refuses at every level.
const byHost = "host"

// possible tells whether an attack is possible where these mechanisms are applied.
func (a *attack) possible(report *sandbox.Report) bool {
	return !slices.ContainsFunc(a.stops, func(name string) bool { return name == byHost || report.Has(name) })
}

// battery is all there is to try, in the order of the table.
func battery() []attack {
	var all []attack
	for _, group := range []struct {
		name    string
		attacks []attack
	}{
		{"Files", slices.Concat(fileAttacks(), trickAttacks())},
		{"Processes", slices.Concat(processAttacks(), neighbourAttacks())},
		{"Kernel", slices.Concat(kernelAttacks(), namespaceAttacks(), architectureAttacks())},
		{"Network", slices.Concat(internetAttacks(), socketAttacks())},
		{"Resources", resourceAttacks()},
		{"Host", slices.Concat(launchAttacks(), placeAttacks(), lieAttacks(), floodAttacks())},
	} {
		for _, a := range group.attacks {
			a.group = group.name
			all = append(all, a)
		}
	}
	return all
}

// world is what a hostile driver knows of its surroundings.
type world struct {
	ServerPID, UnitPID int
	Secret             string // a file of the server, which all may read by its mode
	Dir                string // directory of it
	Code               string // a file of the driver's code
	Setuid             string // a program that runs as root
	Sibling            string // work directory of another driver
	SiblingUnit        string // name of a unit of it
	Stream, Datagram   string // unix sockets that all may connect to by their modes
	Abstract           string // abstract unix datagram socket
	Allowed, Refused   string // TCP addresses, with a declared port and another
	Terminal           string // a terminal that all may write to
	Cgroup             string // file that puts processes into the first group
}

// refusedWith demands that a call with wrong arguments failed with just this: it would fail anyway, otherwise.
func refusedWith(want syscall.Errno, call func() error) error {
	err := call()
	if errors.Is(err, want) || errors.Is(err, unix.ENOSYS) { // or this kernel has no such call
		return err
	}
	return nil
}

// number makes a system call with arguments that can't work.
func number(call uintptr, arguments ...uintptr) func() error {
	return func() error {
		var a [6]uintptr
		copy(a[:], arguments)
		_, _, errno := unix.Syscall6(call, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno != 0 {
			return errno
		}
		return nil
	}
}

// call is an attack by a system call that is to be refused with EPERM.
func call(name string, stops []string, try func() error) attack {
	return attack{name: name, stops: stops, try: func(*hostile) error { return refusedWith(unix.EPERM, try) }}
}

// limited is an attack that succeeds when more than so many could be had.
func limited(had, limit int, err error) error {
	if had > limit {
		return nil
	}
	return fmt.Errorf("got %d, of which %d are allowed: %w", had, limit, err)
}
