package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const consoleType = "serial"

// consoles are the sockets on which simulated consoles are reachable: they print what the machine has printed and
// echo what is typed. Unlike real ones they end with the driver, and are there again when asked for again.
type consoles struct {
	dir  string // empty = none are offered
	done <-chan struct{}

	mutex sync.Mutex
	open  map[simworld.Key]string // socket paths
}

func newConsoles(workDir string, done <-chan struct{}) *consoles {
	c := &consoles{done: done, open: map[simworld.Key]string{}}
	if workDir != "" {
		c.dir = filepath.Join(workDir, "consoles")
	}
	return c
}

func (c *consoles) offered() bool { return c.dir != "" }

// OpenConsole implements driverpb.HypervisorServer.
func (h *hypervisor) OpenConsole(
	ctx context.Context, r *driverpb.ConsoleRequest,
) (*driverpb.ConsoleReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	consoles := h.driver.consoles
	if r.GetType() != consoleType || !consoles.offered() {
		return nil, sdk.Unsupported("no-such-console", "this driver offers no console of type "+r.GetType())
	}
	_, err = look(ctx, h.driver, "OpenConsole", r.GetCall(), func(tx *simworld.Tx) (*driverpb.MachineReply, error) {
		o, _ := tx.Get(key)
		if !live(o) {
			return nil, sdk.NotFound("machine-not-running", key.String()+" is not running", "start it first")
		}
		return machineReply(tx, o), nil
	})
	if err != nil {
		return nil, err
	}
	world, err := h.driver.open()
	if err != nil {
		return nil, err
	}
	log, err := consoles.writeLog(world, key)
	if err != nil {
		return nil, sdk.Internal("console-log", err)
	}
	socket, err := consoles.listen(ctx, world, key)
	if err != nil { // a sandbox may forbid it; the log is there
		h.driver.log.WarnContext(ctx, "console has no socket", slog.String("error", err.Error()))
	}
	return &driverpb.ConsoleReply{Socket: socket, Protocol: "stream", LogPath: log}, nil
}

// text is what the console of a machine shows now.
func (c *consoles) text(world *simworld.World, key simworld.Key) (string, error) {
	text := ""
	err := world.View(func(tx *simworld.Tx) error {
		if o, found := tx.Get(key); found {
			text = o.Console()
		}
		return nil
	})
	return text, err
}

func (c *consoles) writeLog(world *simworld.World, key simworld.Key) (path string, err error) {
	text, err := c.text(world, key)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(c.dir, 0o770); err != nil {
		return "", fmt.Errorf("making the directory of consoles: %w", err)
	}
	path = filepath.Join(c.dir, hashName("", key.ID)+".log")
	if err := os.WriteFile(path, []byte(text), 0o660); err != nil {
		return "", fmt.Errorf("writing the console's log: %w", err)
	}
	return path, nil
}

// listen makes the socket, or returns the one that is there.
func (c *consoles) listen(ctx context.Context, world *simworld.World, key simworld.Key) (path string, err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if path, ok := c.open[key]; ok {
		return path, nil
	}
	path = filepath.Join(c.dir, hashName("", key.ID)+".sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("removing an old console: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return "", fmt.Errorf("opening a console: %w", err)
	}
	c.open[key] = path
	go c.serve(listener, world, key) // ends with the driver
	return path, nil
}

func (c *consoles) serve(listener net.Listener, world *simworld.World, key simworld.Key) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.done:
		case <-stop:
		}
		_ = listener.Close()
	}()
	for {
		conn, err := listener.Accept()
		if err != nil {
			c.mutex.Lock()
			defer c.mutex.Unlock()
			delete(c.open, key)
			return
		}
		go c.talk(conn, world, key) // ends when the other side hangs up, or with the driver
	}
}

// talk is one visit at a console.
func (c *consoles) talk(conn net.Conn, world *simworld.World, key simworld.Key) {
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-c.done:
		case <-over:
		}
		_ = conn.Close()
	}()
	text, err := c.text(world, key)
	if err != nil {
		return
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if _, err := fmt.Fprintf(conn, "%s: simulated, not found\r\n", lines.Text()); err != nil {
			return
		}
	}
}
