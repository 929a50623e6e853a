package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// full is a pipeline without room, until it is closed.
type full struct{ closed chan struct{} }

func (f full) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	<-f.closed
	return nil, raft.ErrPipelineShutdown
}
func (full) Consumer() <-chan raft.AppendFuture { return nil }
func (f full) Close() error {
	close(f.closed)
	return nil
}

// TestNobodyWaitsForeverForRoomInAPipeline: raft may have stopped to take what comes out of it. Time passes meanwhile,
// also in a bubble, though there is something to tell.
func TestNobodyWaitsForeverForRoomInAPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, agreed := cluster.Telling(full{make(chan struct{})})
		time.AfterFunc(time.Second, func() { agreed(1, 1) })
		_, err := p.AppendEntries(&raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{})
		want(t, "AppendEntries", err, raft.ErrPipelineShutdown)
	})
}
