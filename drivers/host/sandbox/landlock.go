package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock versions that brought what is used here.
const (
	abiRefer    = 2
	abiTruncate = 3
	abiPorts    = 4
	abiIoctl    = 5
	abiScope    = 6
)

const (
	rightsRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rightsExec  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	rightsWrite = rightsRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	rightsDevice = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// rightsFile are those that make sense for what is not a directory.
	rightsFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// rightsABI1 are the thirteen of the first version.
	rightsABI1 = 1<<13 - 1
)

const ruleNetPort = 2

// portRule is struct landlock_net_port_attr.
type portRule struct {
	access uint64
	port   uint64
}

// LandlockABI asks the kernel for its Landlock version; 0 comes with the reason.
func LandlockABI() (abi int, err error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch errno {
	case 0:
		return int(version), nil
	case unix.ENOSYS:
		return 0, errors.New("the kernel is built without Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK)")
	case unix.EOPNOTSUPP:
		return 0, errors.New("the kernel has Landlock built in but switched off")
	}
	return 0, fmt.Errorf("asking for Landlock: %w", errno)
}

// mounts tells whether the program is to change the mount tree, which Landlock's file rules forbid altogether.
func (s *Spec) mounts() bool {
	return bits(s.Capabilities)&(1<<unix.CAP_SYS_ADMIN) != 0
}

// restrictFiles applies Landlock to this thread. Missing mechanisms go to the report; an error means that what the
// kernel offers could not be applied.
func restrictFiles(spec *Spec, report *Report) error {
	abi, err := LandlockABI()
	report.LandlockABI = abi
	if err != nil {
		for _, mechanism := range []string{MechanismFiles, MechanismPorts, MechanismScope} {
			report.Miss(mechanism, err.Error(), "boot with lsm=landlock,... on Linux 5.13 or newer")
		}
		return nil
	}
	handled := unix.LandlockRulesetAttr{Handled_access_fs: handledFiles(spec, abi)}
	if abi >= abiPorts && !spec.AllTCP {
		handled.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= abiScope {
		handled.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	if handled == (unix.LandlockRulesetAttr{}) {
		reportLandlock(spec, report, abi)
		return nil
	}
	ruleset, err := createRuleset(&handled, abi)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(ruleset) }()
	if err := addFileRules(ruleset, spec, handled.Handled_access_fs); err != nil {
		return err
	}
	if err := addPortRules(ruleset, spec, handled.Handled_access_net); err != nil {
		return err
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("applying Landlock: %w", errno)
	}
	reportLandlock(spec, report, abi)
	return nil
}

func handledFiles(spec *Spec, abi int) uint64 {
	if spec.mounts() {
		return 0
	}
	handled := uint64(rightsABI1)
	if abi >= abiRefer {
		handled |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= abiTruncate {
		handled |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= abiIoctl {
		handled |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return handled
}

func reportLandlock(spec *Spec, report *Report, abi int) {
	if spec.mounts() {
		report.Miss(MechanismFiles, "it may mount (sys_admin), which the kernel forbids to a process with file rules", "")
	} else {
		report.Apply(MechanismFiles)
	}
	switch {
	case abi < abiPorts:
		report.Miss(MechanismPorts, "Landlock can't restrict TCP ports in this kernel", "use Linux 6.7 or newer")
	case spec.AllTCP:
		report.Miss(MechanismPorts, "it may use all TCP ports", "")
	default:
		report.Apply(MechanismPorts)
	}
	if abi < abiScope {
		report.Miss(MechanismScope, "Landlock can't restrict signals and abstract sockets in this kernel",
			"use Linux 6.12 or newer")
	} else {
		report.Apply(MechanismScope)
	}
}

// createRuleset makes a ruleset; the size of the attribute tells the kernel which version we speak.
func createRuleset(handled *unix.LandlockRulesetAttr, abi int) (int, error) {
	size := unsafe.Offsetof(handled.Quiet_access_fs)
	if abi < abiScope {
		size = unsafe.Offsetof(handled.Scoped)
	}
	if abi < abiPorts {
		size = unsafe.Offsetof(handled.Handled_access_net)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(handled)), size, 0)
	if errno != 0 {
		return -1, fmt.Errorf("creating Landlock ruleset: %w", errno)
	}
	return int(fd), nil
}

func addFileRules(ruleset int, spec *Spec, handled uint64) error {
	if handled == 0 {
		return nil
	}
	groups := []struct {
		paths  []string
		rights uint64
		open   func(path string) (int, error)
	}{
		{spec.Read, rightsRead, openPlace},
		{spec.Write, rightsWrite, openPlace},
		{spec.PinnedRead, rightsRead, openPinned},
		{spec.PinnedWrite, rightsWrite, openPinned},
		{spec.Exec, rightsExec, openPlace},
		{spec.Devices, rightsDevice, openPlace},
		{[]string{"/dev/null"}, rightsDevice, openPlace},
	}
	for _, group := range groups {
		for _, path := range group.paths {
			if err := addFileRule(ruleset, path, group.rights&handled, group.open); err != nil {
				return err
			}
		}
	}
	return nil
}

// openPlace opens what is at path, wherever links lead.
func openPlace(path string) (int, error) {
	return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
}

// openPinned opens what is at path and refuses to follow a link anywhere on the way.
func openPinned(path string) (int, error) {
	return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
}

func addFileRule(ruleset int, path string, rights uint64, open func(path string) (int, error)) error {
	fd, err := open(path)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s for a Landlock rule: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("looking at %s for a Landlock rule: %w", path, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= rightsFile
	}
	if rights == 0 {
		return nil
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("adding Landlock rule for %s: %w", path, errno)
	}
	return nil
}

func addPortRules(ruleset int, spec *Spec, handled uint64) error {
	if handled == 0 {
		return nil
	}
	access := map[uint16]uint64{}
	for _, port := range spec.TCPConnect {
		access[port] |= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	for _, port := range spec.TCPListen {
		access[port] |= unix.LANDLOCK_ACCESS_NET_BIND_TCP
	}
	for port, rights := range access {
		rule := portRule{access: rights, port: uint64(port)}
		_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), ruleNetPort,
			uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
		if errno != 0 {
			return fmt.Errorf("adding Landlock rule for port %d: %w", port, errno)
		}
	}
	return nil
}
