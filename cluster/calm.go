package cluster

import (
	"io"
	"time"
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
