package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var capabilityNumbers = map[string]uint{
	"chown": unix.CAP_CHOWN, "dac_override": unix.CAP_DAC_OVERRIDE, "dac_read_search": unix.CAP_DAC_READ_SEARCH,
	"fowner": unix.CAP_FOWNER, "fsetid": unix.CAP_FSETID, "kill": unix.CAP_KILL, "setgid": unix.CAP_SETGID,
	"setuid": unix.CAP_SETUID, "net_bind_service": unix.CAP_NET_BIND_SERVICE, "net_admin": unix.CAP_NET_ADMIN,
	"net_raw": unix.CAP_NET_RAW, "ipc_lock": unix.CAP_IPC_LOCK, "sys_chroot": unix.CAP_SYS_CHROOT,
	"sys_ptrace": unix.CAP_SYS_PTRACE, "sys_admin": unix.CAP_SYS_ADMIN, "sys_nice": unix.CAP_SYS_NICE,
	"sys_resource": unix.CAP_SYS_RESOURCE, "sys_rawio": unix.CAP_SYS_RAWIO, "sys_time": unix.CAP_SYS_TIME,
	"mknod": unix.CAP_MKNOD, "bpf": unix.CAP_BPF, "perfmon": unix.CAP_PERFMON,
}

// CheckCapability tells whether a name is one that programs may keep.
func CheckCapability(name string) error {
	if _, ok := capabilityNumbers[name]; ok {
		return nil
	}
	known := slices.Sorted(maps.Keys(capabilityNumbers))
	return fmt.Errorf("unknown capability %q: want one of %s", name, strings.Join(known, ", "))
}

// permitted returns the capabilities this thread could keep.
func permitted() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("reading capabilities: %w", err)
	}
	return uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32, nil
}

// dropBounding removes all but keep from the bounding set of this thread. It needs CAP_SETPCAP.
func dropBounding(keep uint64) error {
	for number := uintptr(0); number <= 63; number++ {
		if keep&(1<<number) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0)
		if err == unix.EINVAL { // beyond the kernel's last capability
			return nil
		}
		if err != nil {
			return fmt.Errorf("dropping capability %d from the bounding set: %w", number, err)
		}
	}
	return nil
}

// setCapabilities makes keep the permitted, effective, inheritable and ambient set of this thread, so that exactly
// these survive the execution of an ordinary program.
func setCapabilities(keep uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for word := range data {
		bits := uint32(keep >> (32 * word))
		data[word] = unix.CapUserData{Effective: bits, Permitted: bits, Inheritable: bits}
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("setting capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clearing ambient capabilities: %w", err)
	}
	for number := range uintptr(64) {
		if keep&(1<<number) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, number, 0, 0); err != nil {
			return fmt.Errorf("raising ambient capability %d: %w", number, err)
		}
	}
	return nil
}

// bits turns names into a set.
func bits(names []string) uint64 {
	var set uint64
	for _, name := range names {
		if number, ok := capabilityNumbers[name]; ok {
			set |= 1 << number
		}
	}
	return set
}
