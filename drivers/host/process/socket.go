package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into a socket address, with its final zero.
const maxSocketPath = 107

// Listen makes a unix socket at path, however long that is, replacing an older one, and returns it as a file to
// pass on. The socket stays when this process ends.
func Listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the old socket: %w", err)
	}
	address, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	listener.SetUnlinkOnClose(false)
	file, err := listener.File()
	if err = errors.Join(err, listener.Close()); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return file, nil
}

// Dial connects to the unix socket at path, however long that is.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	address, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", address)
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", path, err)
	}
	return conn, nil
}

// shorten gives a path that means the same and fits into a socket address, until done is called.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, fmt.Errorf("opening the socket's directory: %w", err)
	}
	short = filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path))
	return short, func() { _ = dir.Close() }, nil
}

// ErrForeign says that there is something at a path, but not a socket that the process in question serves.
var ErrForeign = errors.New("it is no socket of that process")

// DialBelow connects to the unix socket at rest below dir, which server is to serve. Who can write to dir may have put
// anything there: no link is followed, nothing outside of dir is reached, and the connection is given up unless server
// itself listens at its other end and is alive. It wraps ErrForeign when it is not.
func DialBelow(ctx context.Context, dir, rest string, server *Process) (net.Conn, error) {
	found, err := openSocket(dir, rest)
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", filepath.Join(dir, rest), err)
	}
	defer func() { _ = found.Close() }()
	conn, err := Dial(ctx, filepath.Join("/proc/self/fd", strconv.Itoa(int(found.Fd()))))
	if err != nil {
		return nil, err
	}
	if err := server.IsPeer(conn); err != nil {
		return nil, fmt.Errorf("dialling %s: %w", filepath.Join(dir, rest), errors.Join(err, conn.Close()))
	}
	return conn, nil
}

// IsPeer fails unless the process is at the other end of a unix connection and alive: the one that listens there, or
// the one that connected. It wraps ErrForeign when it is not.
func (p *Process) IsPeer(conn net.Conn) error {
	pid, err := peerOf(conn)
	if err == nil && (pid != p.identity.PID || !p.Running()) {
		err = fmt.Errorf("process %d is there, not %d: %w", pid, p.identity.PID, ErrForeign)
	}
	return err
}

// openSocket opens what is at rest below dir, as a place only, if it is a socket.
func openSocket(dir, rest string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	top, err := unix.Openat2(unix.AT_FDCWD, dir, &how)
	if err != nil {
		return nil, linked(err)
	}
	defer func() { _ = unix.Close(top) }()
	how = unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(top, rest, &how)
	if err != nil {
		return nil, linked(err)
	}
	found := os.NewFile(uintptr(fd), rest)
	var stat unix.Stat_t
	err = unix.Fstat(fd, &stat)
	if err == nil && stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = ErrForeign
	}
	if err != nil {
		return nil, errors.Join(err, found.Close())
	}
	return found, nil
}

// linked tells a way that leads elsewhere from one that is not there.
func linked(err error) error {
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%w: %w", err, ErrForeign)
	}
	return err
}

// peerOf says which process listens at the other end of a connection.
func peerOf(conn net.Conn) (pid int, err error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return 0, errors.New("the connection has no descriptor")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(fd uintptr) {
		var peer *unix.Ucred
		if peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid, errors.Join(failed, err)
}
