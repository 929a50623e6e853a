package qemuhypervisor_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// console reads and writes a machine's serial console.
type console struct {
	l    *lab
	id   string
	log  string
	line net.Conn // once something was typed
}

func (l *lab) console(id string) *console {
	l.t.Helper()
	reply, err := l.client().OpenConsole(l.ctx(), &driverpb.ConsoleRequest{
		Call: l.call("machine", id), Host: l.hostRef(), Type: "serial",
	})
	if err != nil {
		l.t.Fatalf("opening the console of %s: %v", id, err)
	}
	return &console{l: l, id: id, log: reply.GetLogPath()}
}

func (c *console) text() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		c.l.t.Fatalf("reading the console of %s: %v", c.id, err)
	}
	return string(text)
}

const ready = "BULKHEAD GUEST READY"

// awaits waits until the guest has printed words so many times.
func (c *console) awaits(words string, times int) {
	c.l.t.Helper()
	c.awaitsFor(words, times, patient)
}

func (c *console) awaitsFor(words string, times int, limit time.Duration) {
	c.l.t.Helper()
	defer func() {
		if c.l.t.Failed() {
			c.l.t.Logf("the console of %s:\n%s", c.id, c.text())
		}
	}()
	until(c.l.t, fmt.Sprintf("%s printed %q", c.id, words), limit, func() bool {
		return strings.Count(c.text(), words) >= times
	})
}

// types sends a line to the guest's shell. The line to QEMU stays open: what the guest has not read when it is closed
// is lost, and a guest on a busy host reads slowly.
func (c *console) types(line string) {
	c.l.t.Helper()
	if c.line == nil {
		line, err := net.Dial("unix", filepath.Join(filepath.Dir(c.log), "q", "serial"))
		if err != nil {
			c.l.t.Fatalf("connecting to the console of %s: %v", c.id, err)
		}
		c.line = line
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, line)
		}()
		c.l.t.Cleanup(func() {
			_ = line.Close()
			<-drained
		})
	}
	if _, err := io.WriteString(c.line, line+"\n"); err != nil {
		c.l.t.Fatalf("typing into the console of %s: %v", c.id, err)
	}
}

// hangsUp leaves the guest alone with its log, into which QEMU writes letters twice while somebody listens who is
// slower than the guest.
func (c *console) hangsUp() {
	_ = c.line.Close()
	c.line = nil
}
