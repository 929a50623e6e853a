package units

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
)

// Dial connects to a unix socket that a running unit of a driver serves in its own work directory. What a unit put
// there instead, a link to a socket of somebody else's above all, is not followed: the error wraps process.ErrForeign.
// When the path is in no running unit's work directory the connection is nil, without an error.
func (s *Set) Dial(ctx context.Context, driver, path string) (net.Conn, error) {
	dir, rest, server := s.serverOf(driver, filepath.Clean(path))
	if server == nil {
		return nil, nil
	}
	conn, err := process.DialBelow(ctx, dir, rest, server)
	if err != nil {
		return nil, fmt.Errorf("connecting to a unit: %w", err)
	}
	return conn, nil
}

// serverOf finds the running unit that has path in its work directory, and the way to it from there.
func (s *Set) serverOf(driver, path string) (dir, rest string, server *process.Process) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, u := range s.units {
		if u.driver != driver {
			continue
		}
		u.mutex.Lock()
		place, running := u.record.WorkDir, u.process
		u.mutex.Unlock()
		if place.Real == "" || running == nil || !running.Running() {
			continue
		}
		if tail, ok := place.below(path); ok && (server == nil || len(place.Real) > len(dir)) {
			dir, rest, server = place.Real, tail, running
		}
	}
	return dir, rest, server
}

// below cuts the directory off a path in it.
func (w workDir) below(path string) (rest string, ok bool) {
	for _, name := range []string{w.Asked, w.Real} {
		if rest, ok = strings.CutPrefix(path, name+"/"); ok {
			return rest, true
		}
	}
	return "", false
}
