package attacks_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

func read(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = file.Read(make([]byte, 1))
	return err
}

func list(path string) error {
	_, err := os.ReadDir(path)
	return err
}

// openToWrite does not write: it must do no harm where it is possible.
func openToWrite(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

// leave makes a file, and removes it.
func leave(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Remove(path)
}

func fileAttacks() []attack {
	files := []string{sandbox.MechanismFiles}
	closed := append([]string{sandbox.MechanismUser, sandbox.MechanismCapabilities}, files...)
	return []attack{
		{name: "read /etc/shadow", stops: closed, try: func(*hostile) error { return read("/etc/shadow") }},
		{name: "read /etc/passwd", stops: files, try: func(*hostile) error { return read("/etc/passwd") }},
		{
			name: "read a file of the server that all may read", stops: files,
			try: func(h *hostile) error { return read(h.at.Secret) },
		},
		{name: "list the root directory", stops: files, try: func(*hostile) error { return list("/") }},
		{name: "list processes", stops: files, try: func(*hostile) error { return list("/proc") }},
		{
			name: "read the server's environment", stops: append([]string{sandbox.MechanismUser}, files...),
			try: func(h *hostile) error { return read(fmt.Sprintf("/proc/%d/environ", h.at.ServerPID)) },
		},
		{
			name: "read the server's arguments", stops: files,
			try: func(h *hostile) error { return read(fmt.Sprintf("/proc/%d/cmdline", h.at.ServerPID)) },
		},
		{
			name: "list a sibling's directory", stops: append([]string{sandbox.MechanismUser}, files...),
			try: func(h *hostile) error { return list(h.at.Sibling) },
		},
		{
			name: "write into a sibling's directory", stops: append([]string{sandbox.MechanismUser}, files...),
			try: func(h *hostile) error { return leave(filepath.Join(h.at.Sibling, "x")) },
		},
		{
			name: "write into /tmp", stops: files,
			try: func(*hostile) error { return leave("/tmp/bulkhead-attack-" + strconv.Itoa(os.Getpid())) },
		},
		{
			name: "change its own code", stops: append([]string{sandbox.MechanismUser}, files...),
			try: func(h *hostile) error { return openToWrite(h.at.Code) },
		},
		{name: "open a device that all may open", stops: files, try: func(*hostile) error { return read("/dev/full") }},
		{name: "open the kernel's log", stops: closed, try: func(*hostile) error { return openToWrite("/dev/kmsg") }},
		{
			name: "name the program that gets core dumps", stops: closed,
			try: func(*hostile) error { return openToWrite("/proc/sys/kernel/core_pattern") },
		},
		{
			name: "leave its cgroup", stops: closed,
			try: func(h *hostile) error { return os.WriteFile(h.at.Cgroup, []byte("0"), 0) },
		},
		{name: "push input into a terminal", stops: closed, try: pushInput},
	}
}

func pushInput(h *hostile) error {
	fd, err := unix.Open(h.at.Terminal, unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.IoctlSetPointerInt(fd, unix.TIOCSTI, 'x')
}

// trickAttacks are the ways around what is forbidden by name.
func trickAttacks() []attack {
	files := []string{sandbox.MechanismFiles}
	owned := []string{sandbox.MechanismUser}
	return []attack{
		{name: "read through a symbolic link of its own", stops: files, try: readThroughLink},
		{
			name: "make a hard link to a file of the server", stops: files, kernelToo: true,
			try: func(h *hostile) error {
				defer func() { _ = os.Remove("hard") }()
				return os.Link(h.at.Secret, "hard")
			},
		},
		{name: "open without rights, and open that again", stops: files, try: reopen},
		{
			name: "read through /proc/self/root", stops: files,
			try: func(h *hostile) error { return read("/proc/self/root" + h.at.Secret) },
		},
		{name: "be told what happens in a directory", stops: []string{sandbox.MechanismSyscalls}, try: watch},
		{
			name: "change the mode of a file of the server", stops: owned,
			try: func(h *hostile) error { return os.Chmod(h.at.Secret, 0o644) },
		},
		{
			name: "change the time of a file of the server", stops: owned,
			try: func(h *hostile) error { return unix.Utimes(h.at.Secret, []unix.Timeval{{Sec: 1}, {Sec: 1}}) },
		},
		{
			name: "make a device", stops: []string{sandbox.MechanismCapabilities, sandbox.MechanismSyscalls},
			try: func(*hostile) error {
				defer func() { _ = os.Remove("device") }()
				return unix.Mknod("device", unix.S_IFBLK|0o600, 8<<8)
			},
		},
		{
			name: "give a program of its own to root", stops: []string{sandbox.MechanismCapabilities},
			try: func(*hostile) error {
				if err := os.WriteFile("suid", nil, 0o700); err != nil {
					return err
				}
				return os.Chown("suid", 0, 0)
			},
		},
		{
			name: "leave by chroot", stops: []string{sandbox.MechanismCapabilities, sandbox.MechanismSyscalls},
			try: func(*hostile) error { return inThread(func() error { return unix.Chroot("/") }) },
		},
		{
			name: "open a file by its handle", stops: []string{sandbox.MechanismSyscalls, sandbox.MechanismCapabilities},
			try: openByHandle, kernelToo: true, // not all file systems have handles
		},
	}
}

func readThroughLink(h *hostile) error {
	if err := os.Symlink(h.at.Secret, "soft"); err != nil {
		return err
	}
	defer func() { _ = os.Remove("soft") }()
	return read("soft")
}

// reopen opens what needs no rights, and then what that leads to.
func reopen(h *hostile) error {
	fd, err := unix.Open(h.at.Secret, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return read(fmt.Sprintf("/proc/self/fd/%d", fd))
}

func watch(h *hostile) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	_, err = unix.InotifyAddWatch(fd, h.at.Dir, unix.IN_CREATE)
	return err
}

func openByHandle(h *hostile) error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, h.at.Secret, 0)
	if err != nil {
		return err
	}
	place, err := unix.Open(".", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(place) }()
	fd, err := unix.OpenByHandleAt(place, handle, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
