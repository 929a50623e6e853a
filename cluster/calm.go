package cluster

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

const (
	calmShare = 4           // calm writing takes one part in so many of the time
	calmPause = time.Second // the longest pause
)

// calmWriter writes what comes in large pieces, and pauses after each, so that a snapshot, which all nodes are due to
// take at about the same time, takes little from what else the node does.
type calmWriter struct {
	to       io.Writer
	resumed  time.Time // when the last pause ended
	hurry    func() bool
	stopping <-chan struct{}
}

// Write implements io.Writer.
func (c *calmWriter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	if err != nil || n < envelopePiece || c.hurry() {
		c.resumed = time.Now()
		return n, err
	}
	select {
	case <-time.After(min(time.Since(c.resumed)*(calmShare-1), calmPause)):
	case <-c.stopping: // who writes finds out for himself
	}
	c.resumed = time.Now()
	return n, nil
}

// earlyWriter writes a snapshot, and has the kernel write each piece to the disk at once: all of it in the end would
// have the log wait for hundreds of megabytes.
type earlyWriter struct {
	to   io.Writer
	file *os.File // nil: it is not on a disk
}

// early returns a writer to sink, which is to be closed before sink is.
func (n *Node) early(sink raft.SnapshotSink) *earlyWriter {
	e := &earlyWriter{to: sink}
	if n.storage.unfinished == nil {
		return e
	}
	f, err := n.storage.unfinished(sink.ID())
	if err != nil { // a snapshot that is written late is one still
		n.log.Warn("a snapshot is not written ahead", slog.Any("error", err))
		return e
	}
	e.file = f
	return e
}

// Write implements io.Writer.
func (e *earlyWriter) Write(b []byte) (int, error) {
	n, err := e.to.Write(b)
	if e.file != nil {
		durable.Begin(e.file)
	}
	return n, err
}

func (e *earlyWriter) close() {
	if e.file != nil {
		_ = e.file.Close() // nothing was written through it
	}
}
