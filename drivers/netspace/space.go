package netspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Space is one network namespace to work in. Close it after use. Safe for concurrent use.
type Space struct {
	name string
	file *os.File
	// own is set for the namespace the process lives in, where nothing must be entered.
	own bool
}

// Current returns the namespace of the process. Call it from any goroutine that is not in Do.
func Current() (*Space, error) {
	space, err := openSpace("of the host", "/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	space.own = true
	return space, nil
}

func openSpace(name, path string) (*Space, error) {
	file, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening network namespace %s: %w", name, err)
	}
	return &Space{name: name, file: file}, nil
}

// Close lets go of the namespace.
func (s *Space) Close() {
	_ = s.file.Close() // read-only: nothing can be lost
}

// FD returns the descriptor that names the namespace towards netlink. It is valid until Close.
func (s *Space) FD() int {
	return int(s.file.Fd())
}

// Do runs work inside the namespace. Sockets opened and processes started by work stay in it. Work must not start
// goroutines that rely on the namespace.
func (s *Space) Do(work func() error) error {
	if s.own {
		return work()
	}
	return onOwnThread(func() error {
		if err := unix.Setns(s.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", s.name, err)
		}
		return work()
	})
}

// Occupied tells whether a process that talks to others runs in the namespace: whether unix sockets are open there,
// which belong to the namespace their process was in. Guests and name servers have some all their life.
func (s *Space) Occupied() (bool, error) {
	var sockets int
	err := s.Do(func() error {
		list, err := os.ReadFile("/proc/thread-self/net/unix")
		sockets = bytes.Count(list, []byte("\n")) - 1 // the first line is a heading
		return err
	})
	if err != nil {
		return false, fmt.Errorf("looking who is in network namespace %s: %w", s.name, err)
	}
	return sockets > 0, nil
}

// Vacant tells whether nothing is in the namespace: no interface that is up, but for the loopback, and no process as
// Occupied finds them. Interfaces that are down do not count: the kernel puts some into every namespace.
func (s *Space) Vacant() (bool, error) {
	occupied, err := s.Occupied()
	if err != nil || occupied {
		return false, err
	}
	up := false
	err = s.Do(func() error {
		links, err := net.Interfaces()
		up = slices.ContainsFunc(links, func(link net.Interface) bool {
			return link.Flags&net.FlagUp != 0 && link.Flags&net.FlagLoopback == 0
		})
		return err
	})
	if err != nil {
		return false, fmt.Errorf("looking what is in network namespace %s: %w", s.name, err)
	}
	return !up, nil
}

// Run runs a program inside the namespace with input as its stdin, and returns its stdout. The error carries what
// the program said on stderr.
func (s *Space) Run(ctx context.Context, input string, argv ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	err := s.Do(func() error {
		command := exec.CommandContext(ctx, argv[0], argv[1:]...)
		command.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		command.Stdin = strings.NewReader(input)
		command.Stdout, command.Stderr = &stdout, &stderr
		return command.Run()
	})
	if err != nil {
		said := strings.TrimSpace(stderr.String())
		return nil, fmt.Errorf("running %s in network namespace %s: %w: %s", argv[0], s.name, err, said)
	}
	return stdout.Bytes(), nil
}

// Sysctl reads a setting of the namespace, such as "ipv4/ip_forward".
func (s *Space) Sysctl(key string) (string, error) {
	var value string
	err := s.Do(func() error {
		content, err := os.ReadFile(sysctlPath(key))
		value = strings.TrimSpace(string(content))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading sysctl net/%s in network namespace %s: %w", key, s.name, err)
	}
	return value, nil
}

// SetSysctl changes a setting of the namespace unless it has the value already. The error wraps fs.ErrNotExist when
// the kernel doesn't have the setting.
func (s *Space) SetSysctl(key, value string) error {
	err := s.Do(func() error {
		content, err := os.ReadFile(sysctlPath(key))
		if err != nil || strings.TrimSpace(string(content)) == value {
			return err
		}
		return os.WriteFile(sysctlPath(key), []byte(value), 0o644)
	})
	if err != nil {
		return fmt.Errorf("setting sysctl net/%s in network namespace %s: %w", key, s.name, err)
	}
	return nil
}

// Setting is one sysctl below net/ and its value.
type Setting struct{ Key, Value string }

// SetSysctls sets all settings; those the kernel doesn't have are passed over, since what they govern isn't there.
func (s *Space) SetSysctls(settings []Setting) error {
	for _, setting := range settings {
		err := s.SetSysctl(setting.Key, setting.Value)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func sysctlPath(key string) string {
	return filepath.Join("/proc/sys/net", key)
}
