package qemuhypervisor_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// wire stands between the driver and a QEMU's monitor and can cut at any command.
type wire struct {
	t        *testing.T
	socket   string // of QEMU itself
	listener net.Listener
	serving  sync.WaitGroup

	mutex sync.Mutex
	next  *cut
	// before is told of each command before QEMU is.
	before func(command string)
}

// cut is what happens at the nth command that changes or asks something of the machine.
type cut struct {
	how  way
	left int
	// lost is told when it happens.
	lost func()
	// found is set once the driver has found the machine; commands before that do not count.
	found bool
	// at is the command it happened at, empty while it did not.
	at string
}

// way is how a command is lost.
type way string

const (
	// unsent: the connection ends before QEMU sees the command.
	unsent way = "unsent"
	// unheard: QEMU obeys, the connection ends before the answer is heard.
	unheard way = "unheard"
	// impatient: QEMU obeys, the caller has lost patience before the answer came; the connection lives on.
	impatient way = "impatient"
)

// newWire takes the place of the monitors of a machine that runs.
func newWire(t *testing.T, own string) *wire {
	t.Helper()
	w := &wire{t: t, socket: filepath.Join(own, "control.qemu")}
	if err := os.Rename(filepath.Join(own, "control"), w.socket); err != nil {
		t.Fatal(err)
	}
	err := os.Rename(filepath.Join(own, "status"), filepath.Join(own, "status.qemu"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a probe has none, and one that starts not yet
		t.Fatal(err)
	}
	if w.listener, err = net.Listen("unix", filepath.Join(own, "control")); err != nil {
		t.Fatal(err)
	}
	w.serving.Go(w.serve)
	t.Cleanup(func() {
		_ = w.listener.Close()
		w.serving.Wait()
	})
	return w
}

func (w *wire) serve() {
	for {
		driver, err := w.listener.Accept()
		if err != nil {
			return
		}
		monitor, err := net.Dial("unix", w.socket)
		if err != nil {
			_ = driver.Close() // QEMU is gone
			continue
		}
		w.serving.Go(func() { w.relay(driver.(*net.UnixConn), monitor.(*net.UnixConn)) })
	}
}

// arm makes the nth command from now on be lost, not counting those that find the machine.
func (w *wire) arm(n int, how way, lost func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.next = &cut{how: how, left: n, lost: lost}
}

// armAll counts all commands.
func (w *wire) armAll(n int, how way, lost func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.next = &cut{how: how, left: n, lost: lost, found: true}
}

// tell makes the wire tell of each command before QEMU hears of it.
func (w *wire) tell(before func(command string)) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.before = before
}

func (w *wire) told(command string) {
	w.mutex.Lock()
	before := w.before
	w.mutex.Unlock()
	if before != nil {
		before(command)
	}
}

// disarm says at which command the wire was cut.
func (w *wire) disarm() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	at := w.next.at
	w.next = nil
	return at
}

// meet tells how a command fares.
func (w *wire) meet(command string) (how way, lost func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.next == nil || w.next.at != "" {
		return "", nil
	}
	if !w.next.found {
		w.next.found = command == "query-status"
		return "", nil
	}
	if w.next.left--; w.next.left >= 0 {
		return "", nil
	}
	w.next.at = command
	return w.next.how, w.next.lost
}

// relay carries commands and the files that come with them to QEMU, and its words back.
func (w *wire) relay(driver, monitor *net.UnixConn) {
	answers := &answers{to: driver}
	var back sync.WaitGroup
	back.Go(func() {
		answers.carry(monitor)
		_ = driver.Close()
	})
	defer back.Wait()
	defer monitor.Close()
	commands := &commands{from: driver}
	for {
		line, err := commands.read()
		if err != nil {
			return
		}
		var command struct {
			Execute string          `json:"execute"`
			ID      json.RawMessage `json:"id"`
		}
		if err := json.Unmarshal(line, &command); err != nil {
			w.t.Errorf("the driver sent %q: %v", line, err)
			return
		}
		w.told(command.Execute)
		how, lost := w.meet(command.Execute)
		answered := make(chan struct{})
		if how == unsent {
			commands.drop()
			lost()
			return
		}
		if how != "" {
			answers.withhold(string(command.ID), answered)
		}
		if err := commands.pass(monitor, line); err != nil {
			return
		}
		if how == "" {
			continue
		}
		<-answered
		lost()
		if how == unheard {
			return
		}
	}
}

// commands reads lines, and the files that were sent along.
type commands struct {
	from  *net.UnixConn
	rest  []byte
	files []int
}

func (c *commands) read() ([]byte, error) {
	buffer, control := make([]byte, 64<<10), make([]byte, syscall.CmsgSpace(4))
	for {
		if end := slices.Index(c.rest, '\n'); end >= 0 {
			line := c.rest[:end+1]
			c.rest = c.rest[end+1:]
			return line, nil
		}
		n, extra, _, _, err := c.from.ReadMsgUnix(buffer, control)
		if err != nil || n == 0 {
			c.drop()
			return nil, errors.Join(net.ErrClosed, err)
		}
		c.rest = append(c.rest, buffer[:n]...)
		messages, err := syscall.ParseSocketControlMessage(control[:extra])
		for _, message := range messages {
			files, _ := syscall.ParseUnixRights(&message)
			c.files = append(c.files, files...)
		}
		if err != nil {
			return nil, err
		}
	}
}

// pass sends a line on, and the files that came with it. None is kept: it would keep the locks on it too.
func (c *commands) pass(to *net.UnixConn, line []byte) error {
	defer c.drop()
	var rights []byte
	if len(c.files) > 0 {
		rights = syscall.UnixRights(c.files...)
	}
	_, _, err := to.WriteMsgUnix(line, rights, nil)
	return err
}

func (c *commands) drop() {
	for _, file := range c.files {
		_ = syscall.Close(file)
	}
	c.files = nil
}

// answers carries QEMU's words to the driver, but for those withheld.
type answers struct {
	to *net.UnixConn

	mutex    sync.Mutex
	id       string
	answered chan struct{}
}

func (a *answers) withhold(id string, answered chan struct{}) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.id, a.answered = id, answered
}

func (a *answers) carry(monitor net.Conn) {
	defer a.end()
	lines := bufio.NewScanner(monitor)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var answer struct {
			ID json.RawMessage `json:"id"`
		}
		_ = json.Unmarshal(lines.Bytes(), &answer)
		if a.keeps(string(answer.ID)) {
			continue
		}
		if _, err := a.to.Write(append(lines.Bytes(), '\n')); err != nil {
			return
		}
	}
}

// end lets go of who waits for an answer that does not come any more.
func (a *answers) end() {
	a.mutex.Lock()
	id := a.id
	a.mutex.Unlock()
	a.keeps(id)
}

// keeps tells whether an answer is withheld.
func (a *answers) keeps(id string) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.answered == nil || id != a.id {
		return false
	}
	close(a.answered)
	a.answered = nil
	return true
}
