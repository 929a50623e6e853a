package cluster_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// slowWriter takes its time for each write.
type slowWriter struct {
	bytes.Buffer
	each time.Duration
}

func (s *slowWriter) Write(b []byte) (int, error) {
	time.Sleep(s.each)
	return s.Buffer.Write(b)
}

// TestCalmWriting looks at how long large writes take in all, calm, in a hurry, and when the node stops.
func TestCalmWriting(t *testing.T) {
	const pieces, each = 8, 10 * time.Millisecond
	const piece, share = cluster.EnvelopePiece, cluster.CalmShare
	for name, c := range map[string]struct {
		hurry, stopped bool
		bytes          int
		want           time.Duration
	}{
		"calm":       {bytes: piece, want: pieces * each * share},
		"hurry":      {bytes: piece, want: pieces * each, hurry: true},
		"small ones": {bytes: 100, want: pieces * each},
		"stopping":   {bytes: piece, want: pieces * each, stopped: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stopping := make(chan struct{})
				if c.stopped {
					close(stopping)
				}
				to := &slowWriter{each: each}
				start := time.Now()
				w := cluster.CalmWriter(to, func() bool { return c.hurry }, stopping)
				for range pieces {
					if n, err := w.Write(make([]byte, c.bytes)); n != c.bytes || err != nil {
						t.Fatalf("Write() = %d, %v", n, err)
					}
				}
				if took := time.Since(start); took != c.want {
					t.Errorf("it took %s, want %s", took, c.want)
				}
				if to.Len() != pieces*c.bytes {
					t.Errorf("%d bytes arrived, want %d", to.Len(), pieces*c.bytes)
				}
			})
		})
	}
}
