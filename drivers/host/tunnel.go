package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/drivers/splice"
)

// Tunnel is a unix socket for one connection of one driver process, which is joined to one that leads elsewhere.
type Tunnel struct {
	path     string
	listener *net.UnixListener
	far      io.ReadWriteCloser
	over     chan struct{}
	forget   func()

	mutex  sync.Mutex
	near   io.Closer // nil until the driver has come
	closed bool
}

// Tunnel makes a socket that the process of an instance can connect to, once, and nobody else at all; what is said then
// is said to far. Far is the tunnel's from here on, also when it fails.
func (h *Host) Tunnel(name string, far io.ReadWriteCloser) (*Tunnel, error) {
	t, err := h.openTunnel(name, far)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a tunnel for %s: %w", name, err), far.Close())
	}
	return t, nil
}

func (h *Host) openTunnel(name string, far io.ReadWriteCloser) (*Tunnel, error) {
	instance, ok := h.Instance(name)
	if !ok {
		return nil, sdk.Transient("driver-unavailable", "there is no such instance")
	}
	// The name can't be guessed, and only the server can put anything into the directory.
	dir := h.layout.tunnels(instance.manifest.Name)
	if err := makeDir(dir, 0o711); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, strings.ToLower(rand.Text()[:tunnelDigits]))
	if len(path) > maxSocketPath {
		return nil, sdk.Denied("path-too-long", "the data directory is too deep for unix sockets: "+path,
			"use a data directory with a shorter path")
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // who may come is asked when somebody has
		return nil, errors.Join(err, listener.Close())
	}
	t := &Tunnel{path: path, listener: listener, far: far, over: make(chan struct{})}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.closed {
		return nil, errors.Join(ErrClosed, listener.Close())
	}
	h.tunnels[t] = true
	t.forget = func() {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		delete(h.tunnels, t)
	}
	go t.serve(instance) // ends with what is connected, or with Close
	return t, nil
}

const tunnelDigits = 16

// maxSocketPath is what fits into a unix socket's address, which a driver has to write down.
const maxSocketPath = 107

// Path is where the driver connects to.
func (t *Tunnel) Path() string { return t.path }

// serve joins the first connection of the instance's process to far.
func (t *Tunnel) serve(instance *Instance) {
	defer close(t.over)
	defer t.forget()
	defer func() { _ = t.listener.Close() }()
	for {
		near, err := t.listener.AcceptUnix()
		if err != nil {
			_ = t.far.Close() // Close was called
			return
		}
		if err := instance.isPeer(near); err != nil {
			instance.log().Warn("somebody else connected to a tunnel of the driver", slog.Any("error", err))
			_ = near.Close()
			continue
		}
		if t.take(near) {
			_ = t.listener.Close() // it takes one
			if err := splice.Join(near, t.far); err != nil {
				instance.log().Info("a tunnel broke", slog.Any("error", err))
			}
		}
		return
	}
}

// take notes that the driver has come, unless the tunnel is closed.
func (t *Tunnel) take(near io.Closer) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed {
		_, _ = near.Close(), t.far.Close()
		return false
	}
	t.near = near
	return true
}

// Close takes the tunnel away, with what is connected, and waits until it is gone. Idempotent.
func (t *Tunnel) Close() {
	t.end(func() bool { return true })
	<-t.over
}

// Abandon takes the tunnel away if nobody is connected; one that is in use ends with its connection.
func (t *Tunnel) Abandon() {
	t.end(func() bool { return t.near == nil })
}

func (t *Tunnel) end(when func() bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed || !when() {
		return
	}
	t.closed = true
	_ = t.listener.Close()
	_ = t.far.Close()
	if t.near != nil {
		_ = t.near.Close()
	}
}

// isPeer fails unless the instance's process itself is at the other end of a connection.
func (i *Instance) isPeer(conn net.Conn) error {
	i.mutex.Lock()
	current := i.run
	i.mutex.Unlock()
	if current == nil {
		return fmt.Errorf("driver %s is %s: %w", i.name, i.State(), process.ErrForeign)
	}
	own, is := current.process.(*process.Process)
	if !is {
		return fmt.Errorf("driver %s is attached, and its process is not known here: %w", i.name, process.ErrForeign)
	}
	return own.IsPeer(conn)
}

// clearTunnels removes the sockets that a server before left.
func (l layout) clearTunnels() error {
	dirs, err := filepath.Glob(l.tunnels("*"))
	for _, dir := range dirs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return fmt.Errorf("removing tunnels of an earlier server: %w", err)
	}
	return nil
}
