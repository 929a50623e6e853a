package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// target is what a malicious driver knows of its surroundings.
type target struct {
	ServerPID   int
	Secret      string // readable for all by its mode
	Sibling     string // work directory of another driver
	SiblingSock string // unix socket that all may connect to by its mode
	Abstract    string // abstract unix socket
	Allowed     string // TCP address with a declared port
	Refused     string // TCP address with another port
}

// attack tries everything and tells what came of it: the error, or "" for what was possible.
func attack(_ context.Context, arguments []string) (string, error) {
	var at target
	if err := json.Unmarshal([]byte(arguments[0]), &at); err != nil {
		return "", err
	}
	results := map[string]string{}
	for _, battery := range []map[string]func() error{
		fileAttacks(&at), processAttacks(&at), kernelAttacks(), networkAttacks(&at),
	} {
		for name, try := range battery {
			results[name] = ""
			if err := try(); err != nil {
				results[name] = err.Error()
			}
		}
	}
	text, err := json.Marshal(results)
	return string(text), err
}

func fileAttacks(at *target) map[string]func() error {
	read := func(path string) func() error {
		return func() error {
			_, err := os.ReadFile(path)
			return err
		}
	}
	list := func(path string) func() error {
		return func() error {
			_, err := os.ReadDir(path)
			return err
		}
	}
	write := func(path string) func() error {
		return func() error { return os.WriteFile(path, []byte("x"), 0o600) }
	}
	return map[string]func() error{
		"read shadow":             read("/etc/shadow"),
		"read passwd":             read("/etc/passwd"),
		"read server's secret":    read(at.Secret),
		"read server's environ":   read(fmt.Sprintf("/proc/%d/environ", at.ServerPID)),
		"read server's arguments": read(fmt.Sprintf("/proc/%d/cmdline", at.ServerPID)),
		"list root":               list("/"),
		"list proc":               list("/proc"),
		"list sibling":            list(at.Sibling),
		"write tmp":               write("/tmp/attack-was-here"),
		"write sibling":           write(filepath.Join(at.Sibling, "x")),
		"write own program":       write("/proc/self/exe"),
		"make setuid": func() error {
			if err := os.WriteFile("suid", nil, 0o700); err != nil {
				return nil //nolint:nilerr // its own directory is not an attack
			}
			return os.Chown("suid", 0, 0)
		},
		"make device":         func() error { return unix.Mknod("disk", unix.S_IFBLK|0o600, 8<<8) },
		"allowed own dir":     write("own"),
		"allowed own process": read("/proc/self/status"),
		"allowed libraries":   list("/usr/lib"),
	}
}

func processAttacks(at *target) map[string]func() error {
	return map[string]func() error{
		"ptrace server": func() error {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			return syscall.PtraceAttach(at.ServerPID)
		},
		"read server's memory": func() error {
			b := make([]byte, 8)
			local := []unix.Iovec{{Base: &b[0], Len: 8}}
			_, err := unix.ProcessVMReadv(at.ServerPID, local, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
			return err
		},
		"signal server":     func() error { return syscall.Kill(at.ServerPID, 0) },
		"become root":       func() error { return syscall.Setuid(0) },
		"execute su":        func() error { return exec.Command("/usr/bin/su", "--version").Run() },
		"execute a shell":   func() error { return exec.Command("/bin/sh", "-c", "true").Run() },
		"execute a dropped": executeDropped,
		"raise limit": func() error {
			return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
		},
		"allowed declared program": func() error { return exec.Command("/bin/true").Run() },
	}
}

// executeDropped writes a program and tries to run it.
func executeDropped() error {
	if err := os.WriteFile("dropped", []byte("#!/bin/true\n"), 0o700); err != nil {
		return nil //nolint:nilerr // its own directory is not an attack
	}
	return exec.Command("./dropped").Run()
}

func kernelAttacks() map[string]func() error {
	number := func(call uintptr, arguments ...uintptr) func() error {
		return func() error {
			var a [3]uintptr
			copy(a[:], arguments)
			if _, _, errno := unix.Syscall(call, a[0], a[1], a[2]); errno != 0 {
				return errno
			}
			return nil
		}
	}
	namespaced := func(flags uintptr) func() error {
		return func() error {
			child := exec.Command("/bin/true")
			child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
			return child.Run()
		}
	}
	parameters := [256]byte{}
	return map[string]func() error{
		"mount":             func() error { return unix.Mount("t", ".", "tmpfs", 0, "") },
		"unshare user":      func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"clone new user":    namespaced(syscall.CLONE_NEWUSER),
		"clone new network": namespaced(syscall.CLONE_NEWNET),
		"clone3":            refusedWith(number(unix.SYS_CLONE3), unix.ENOSYS),
		"bpf":               refusedWith(number(unix.SYS_BPF), unix.EPERM),
		"io_uring": func() error {
			_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&parameters)), 0)
			return errnoOrNil(errno)
		},
		"keyring":       refusedWith(number(unix.SYS_KEYCTL), unix.EPERM),
		"perf":          refusedWith(number(unix.SYS_PERF_EVENT_OPEN), unix.EPERM),
		"userfaultfd":   number(unix.SYS_USERFAULTFD),
		"load a module": refusedWith(number(unix.SYS_INIT_MODULE), unix.EPERM),
		"chroot":        func() error { return unix.Chroot("/") },
		"x32 call":      refusedWith(number(0x40000000|unix.SYS_GETPID), unix.ENOSYS),
	}
}

func errnoOrNil(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// refusedWith demands that a call failed with just this error, since wrong arguments fail too.
func refusedWith(call func() error, want syscall.Errno) func() error {
	return func() error {
		err := call()
		if !errors.Is(err, want) {
			return nil // it got past the filter
		}
		return err
	}
}

func networkAttacks(at *target) map[string]func() error {
	dial := func(network, address string, multipath bool) func() error {
		return func() error {
			dialer := net.Dialer{Timeout: time.Second}
			dialer.SetMultipathTCP(multipath)
			conn, err := dialer.Dial(network, address)
			if err != nil {
				return err
			}
			return conn.Close()
		}
	}
	socket := func(domain, kind, protocol int) func() error {
		return func() error {
			fd, err := unix.Socket(domain, kind, protocol)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}
	}
	return map[string]func() error{
		"tcp to another port":   dial("tcp", at.Refused, false),
		"mptcp socket":          socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP),
		"sctp socket":           socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
		"udp socket":            socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0),
		"raw socket":            socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		"packet socket":         socket(unix.AF_PACKET, unix.SOCK_RAW, 0),
		"vsock socket":          socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		"crypto socket":         socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		"unix socket of other":  dial("unix", at.SiblingSock, false),
		"abstract unix socket":  dial("unix", at.Abstract, false),
		"listen on tcp":         func() error { return listenAnywhere() },
		"allowed declared port": dial("tcp", at.Allowed, false),
	}
}

func listenAnywhere() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return listener.Close()
}

func TestMaliciousDriverGetsNowhere(t *testing.T) {
	dir := stateDir(t)
	h := open(t, quick(dir))
	at := surroundings(t, h, dir)
	m := manifest(t, "test/evil")
	m.Permissions.Exec = []string{"/bin/true"}
	m.Permissions.TCPConnect = []uint16{port(t, at.Allowed)}
	m.Limits.OpenFiles = 200
	evil := started(t, h, m, host.Setup{})
	text, err := json.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	var results map[string]string
	if err := json.Unmarshal([]byte(must(t, evil, "t1", "attack", string(text))), &results); err != nil {
		t.Fatal(err)
	}
	for name, result := range results {
		allowed := len(name) > 7 && name[:7] == "allowed"
		switch {
		case allowed && result != "":
			t.Errorf("%s: %s", name, result)
		case !allowed && result == "":
			t.Errorf("%s: was possible", name)
		}
	}
	if got := must(t, evil, "t2", "open-files"); got > "200" && len(got) >= 3 {
		t.Errorf("could open %s files, the limit is 200", got)
	}
	_ = os.Remove("/tmp/attack-was-here")
	if evil.State() != host.StateRunning {
		t.Errorf("the driver is %s", evil.State())
	}
}

// surroundings makes what a malicious driver would like to reach.
func surroundings(t *testing.T, h *host.Host, dir string) *target {
	t.Helper()
	secret := filepath.Join(filepath.Dir(dir), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	started(t, h, manifest(t, "test/sibling"), host.Setup{})
	sock := filepath.Join(filepath.Dir(dir), "sock")
	abstract := fmt.Sprintf("@bulkhead-test-%d", os.Getpid())
	at := &target{
		ServerPID: os.Getpid(), Secret: secret, Sibling: filepath.Join(dir, "drivers", "test.sibling", "work"),
		SiblingSock: sock, Abstract: abstract,
	}
	at.Allowed = listening(t, "tcp4", "127.0.0.1:0")
	at.Refused = listening(t, "tcp4", "127.0.0.1:0")
	listening(t, "unix", sock)
	listening(t, "unix", abstract)
	if err := os.Chmod(sock, 0o777); err != nil {
		t.Fatal(err)
	}
	return at
}

func listening(t *testing.T, network, address string) string {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func port(t *testing.T, address string) uint16 {
	t.Helper()
	parsed, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(parsed.Port)
}

// TestUnixSocketsOfTheHostStayOutOfReach is about a driver that may make unix sockets: abstract ones have no file
// whose rules could protect them.
func TestUnixSocketsOfTheHostStayOutOfReach(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.Permissions.UnixSockets, m.Permissions.HostNetwork = true, true
	instance := started(t, h, m, host.Setup{})
	address := listening(t, "unix", fmt.Sprintf("@bulkhead-test-%d", os.Getpid()))
	_, err := do(bounded(t), instance, "t1", "dial", "unix", address)
	if err == nil || !strings.Contains(err.Error(), "operation not permitted") {
		t.Errorf("got %v, want to be refused", err)
	}
	must(t, instance, "t2", "dial-myself")
}

// TestDriverWithoutNetworkHasNone shows the namespace: there is a loopback, which is down, and nothing else.
func TestDriverWithoutNetworkHasNone(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	const headingAndLoopback = 3
	if got := must(t, instance, "t1", "read", "/proc/self/net/dev"); countLines(got) != headingAndLoopback {
		t.Errorf("the driver sees interfaces:\n%s", got)
	}
}

func countLines(text string) int {
	n := 0
	for _, c := range text {
		if c == '\n' {
			n++
		}
	}
	return n
}
