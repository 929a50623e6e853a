package qemuhypervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
)

// wireName is what QEMU calls the connection it was handed.
const wireName = "wire"

// wireEnd is our side of a connection that QEMU uses too. QEMU decides whether it blocks, so that nothing here may wait
// in a read or write.
type wireEnd struct {
	file *os.File
	fd   int
}

// newWireEnd makes one of a connection, which can be closed then.
func newWireEnd(conn *net.UnixConn) (*wireEnd, error) {
	file, err := conn.File()
	if err != nil {
		return nil, fmt.Errorf("taking the connection over: %w", err)
	}
	return &wireEnd{file: file, fd: int(file.Fd())}, nil
}

// give hands it to QEMU.
func (w *wireEnd) give(ctx context.Context, monitor *qmp.Client) error {
	err := monitor.ExecuteWithFile(ctx, w.file, "getfd", map[string]string{"fdname": wireName}, nil)
	if err != nil {
		return fmt.Errorf("handing the connection to QEMU: %w", err)
	}
	return nil
}

func (w *wireEnd) close() { _ = w.file.Close() }

// cut ends the connection in both directions, for QEMU too. What QEMU has not written by then it can't write any more,
// so that the guest either has gone whole or stays: that is how a move is cancelled at any time.
func (w *wireEnd) cut() { _ = unix.Shutdown(w.fd, unix.SHUT_RDWR) }

// finish says that nothing more is written.
func (w *wireEnd) finish() { _ = unix.Shutdown(w.fd, unix.SHUT_WR) }

// say writes a line, which is short enough to fit into what the kernel holds.
func (w *wireEnd) say(what any) error {
	text, err := json.Marshal(what)
	if err == nil {
		err = unix.Sendto(w.fd, append(text, '\n'), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	}
	if err != nil {
		return fmt.Errorf("answering the other side: %w", err)
	}
	return nil
}

// hear waits for a line.
func (w *wireEnd) hear(patience time.Duration, what any) error {
	deadline := time.Now().Add(patience)
	var line []byte
	piece := make([]byte, 4096)
	for !bytes.ContainsRune(line, '\n') {
		n, err := w.read(piece, time.Until(deadline))
		if err != nil {
			return fmt.Errorf("listening to the other side: %w", err)
		}
		if line = append(line, piece[:n]...); len(line) > maxLine {
			return errors.New("listening to the other side: it says too much")
		}
	}
	if err := json.Unmarshal(line, what); err != nil {
		return fmt.Errorf("listening to the other side: %w", err)
	}
	return nil
}

// read waits until there is something, or the time is over.
func (w *wireEnd) read(into []byte, patience time.Duration) (int, error) {
	for {
		wait := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		ready, err := unix.Poll(wait, int(max(patience.Milliseconds(), 0)))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && ready == 0 {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			return 0, err
		}
		n, _, err := unix.Recvfrom(w.fd, into, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err == nil && n == 0 {
			err = io.EOF
		}
		return n, err
	}
}
