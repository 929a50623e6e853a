package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// maxLine bounds one line from QEMU; the longest answers we ask for have some 10 KiB.
	maxLine = 4 << 20
	// writeLimit bounds how long a command may take to be written: QEMU reads its monitor unless it hangs.
	writeLimit = 5 * time.Second
)

// ErrClosed says that the monitor's connection ended: QEMU ended, or Close was called.
var ErrClosed = errors.New("the QMP connection is closed")

var errNoFiles = errors.New("files can be sent over unix sockets only")

// Client is one connection to a monitor. Safe for concurrent use.
type Client struct {
	conn    net.Conn
	version string
	writing sync.Mutex
	done    chan struct{}

	mutex         sync.Mutex
	next          uint64
	pending       map[uint64]chan Message
	subscriptions map[*Subscription]struct{}
	failure       error // why done was closed
}

// Dial connects to the monitor at a socket path and negotiates. A monitor serves one client at a time: while
// another one is connected Dial waits until ctx ends.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connecting to the QMP monitor: %w", err)
	}
	client, err := New(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("opening the QMP monitor %s: %w", path, err)
	}
	return client, nil
}

// New negotiates over an open connection, which it owns from then on, also when it fails.
func New(ctx context.Context, conn net.Conn) (*Client, error) {
	client := &Client{
		conn: conn, done: make(chan struct{}),
		pending: map[uint64]chan Message{}, subscriptions: map[*Subscription]struct{}{},
	}
	scanner := bufio.NewScanner(conn)
	scanner.Buffer(make([]byte, 0, 4096), maxLine)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	err := client.greet(scanner)
	if !stop() || err != nil {
		_ = conn.Close()
		return nil, errors.Join(err, ctx.Err())
	}
	go client.read(scanner)
	if err := client.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("negotiating: %w", err)
	}
	return client, nil
}

func (c *Client) greet(scanner *bufio.Scanner) error {
	if !scanner.Scan() {
		return fmt.Errorf("waiting for the greeting: %w", endOf(scanner))
	}
	message, err := Decode(scanner.Bytes())
	if err != nil {
		return err
	}
	if message.Kind != KindGreeting {
		return fmt.Errorf("waiting for the greeting: %w", errNotQMP)
	}
	c.version = message.Version
	return nil
}

// Version is QEMU's: major.minor.micro.
func (c *Client) Version() string {
	return c.version
}

// Done is closed when the connection ends.
func (c *Client) Done() <-chan struct{} {
	return c.done
}

// Close ends the connection and waits until nothing of it runs any more.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the QMP connection: %w", err)
	}
	return nil
}

// Execute runs a command and decodes its answer into result, unless that is nil. A refusal is an *Error. When ctx
// ends first the command may still take effect.
func (c *Client) Execute(ctx context.Context, name string, arguments, result any) error {
	return c.execute(ctx, nil, name, arguments, result)
}

// ExecuteWithFile is Execute for commands that take an open file along: add-fd and getfd. QEMU gets a descriptor of
// its own; the caller keeps and closes file.
func (c *Client) ExecuteWithFile(ctx context.Context, file *os.File, name string, arguments, result any) error {
	return c.execute(ctx, file, name, arguments, result)
}

func (c *Client) execute(ctx context.Context, file *os.File, name string, arguments, result any) error {
	answer, id, err := c.send(file, name, arguments)
	if err != nil {
		return err
	}
	defer c.forget(id)
	select {
	case message := <-answer:
		return decodeAnswer(name, message, result)
	case <-ctx.Done():
		return fmt.Errorf("waiting for the answer to %s: %w", name, ctx.Err())
	case <-c.done:
	}
	select { // the answer may have come together with the end
	case message := <-answer:
		return decodeAnswer(name, message, result)
	default:
		return fmt.Errorf("waiting for the answer to %s: %w", name, c.reason())
	}
}

func decodeAnswer(name string, message Message, result any) error {
	if message.Kind == KindError {
		return fmt.Errorf("%s: %w", name, message.Fault)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(message.Return, result); err != nil {
		return fmt.Errorf("decoding the answer to %s: %w", name, err)
	}
	return nil
}

func (c *Client) send(file *os.File, name string, arguments any) (<-chan Message, uint64, error) {
	answer := make(chan Message, 1)
	c.mutex.Lock()
	c.next++
	id := c.next
	c.pending[id] = answer
	c.mutex.Unlock()
	line, err := encodeCommand(id, name, arguments)
	if err != nil {
		c.forget(id)
		return nil, 0, err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	if err := write(c.conn, line, file); err != nil {
		c.forget(id)
		return nil, 0, fmt.Errorf("sending %s: %w", name, errors.Join(ErrClosed, err))
	}
	return answer, id, nil
}

// write sends a line, and with it the file.
func write(conn net.Conn, line []byte, file *os.File) error {
	if file == nil {
		_, err := conn.Write(line)
		return err
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return errNoFiles
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var sent int
	var failed error
	if err := raw.Control(func(descriptor uintptr) {
		sent, _, failed = unix.WriteMsgUnix(line, syscall.UnixRights(int(descriptor)), nil)
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	_, err = conn.Write(line[sent:])
	return err
}

func (c *Client) forget(id uint64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.pending, id)
}

// read hands out what QEMU says until the connection ends.
func (c *Client) read(scanner *bufio.Scanner) {
	failure := error(nil)
	for failure == nil && scanner.Scan() {
		message, err := Decode(scanner.Bytes())
		if err != nil {
			failure = err
			break
		}
		c.dispatch(message)
	}
	if failure == nil {
		failure = endOf(scanner)
	}
	_ = c.conn.Close()
	c.mutex.Lock()
	c.failure = failure
	c.mutex.Unlock()
	close(c.done)
}

func (c *Client) dispatch(message Message) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch message.Kind {
	case KindReturn, KindError:
		if answer, ok := c.pending[message.ID]; ok {
			delete(c.pending, message.ID)
			answer <- message
		}
	case KindEvent:
		for subscription := range c.subscriptions {
			subscription.offer(message.Event)
		}
	case KindGreeting: // only once, and read by greet
	}
}

func (c *Client) reason() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.failure
}

func endOf(scanner *bufio.Scanner) error {
	if err := scanner.Err(); err != nil {
		return errors.Join(ErrClosed, err)
	}
	return ErrClosed
}
