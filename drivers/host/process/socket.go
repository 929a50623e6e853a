package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
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
