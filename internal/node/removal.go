package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// ErrRemoved says that a node was taken out of its cluster: there is nothing that its
// server could do.
var ErrRemoved = errors.New("the node was removed from the cluster")

const (
	removalLook = 500 * time.Millisecond
	// removalPause is how long a node seems to be removed before it believes it: the
	// removal may be taken back.
	removalPause = 3 * time.Second
)

// removed reports whether it was decided that this node is to be taken out, and
// whether it knows itself to be no member any more.
func (n *Node) removed() (decided, gone bool) {
	if n.network == nil {
		return false, false
	}
	own := pki.Name{ClusterID: n.network.member.ClusterID, Role: pki.RoleNode, Name: n.config.Name}
	m, known, err := n.memberOf(own)
	decided = err == nil && known && m.Expelled
	return decided, decided && !n.isMember(own)
}

// endWhenRemoved ends the node when it was taken out of its cluster: it may not hear of
// the last of that, but that nobody hears it any more it notices.
func (n *Node) endWhenRemoved(ctx context.Context) {
	tick := time.NewTicker(removalLook)
	defer tick.Stop()
	since := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		decided, gone := n.removed()
		if !gone && (!decided || n.network.holds()) {
			since = time.Now()
			continue
		}
		if time.Since(since) < removalPause {
			continue
		}
		n.config.Log.Info("this node was removed from the cluster and ends", slog.String("node", n.config.Name))
		n.chores.failed <- ErrRemoved
		return
	}
}

// Runs reports whether a server uses a data directory.
func Runs(dataDir string) (bool, error) {
	f, err := os.Open(filepath.Join(dataDir, stateDir, "LOCK")) // a server that ends lets go of the state last
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking whether a server runs: %w", err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return false, fmt.Errorf("looking whether a server runs: %w", err)
	}
	return err != nil, nil
}
