package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// Errors of this package, matched with errors.Is.
var (
	// ErrServer says that a directory is that of a server.
	ErrServer = errors.New("the data directory of a server")
	// ErrNotJoined says that a directory is that of nobody yet.
	ErrNotJoined = errors.New("not the data directory of an agent")
	// ErrTokenRole says that a join token does not let an agent in.
	ErrTokenRole = errors.New("the join token is not for a host")
	// ErrInUse says that another agent uses a directory.
	ErrInUse = errors.New("another agent uses the data directory")
)

// Member says what an agent is called and where nodes reach it.
type Member struct {
	// Name of the agent; no node and no other agent has it.
	Name string
	// Advertise is where nodes reach it, Listen where it listens for them, both host:port. Listen is Advertise if it is
	// empty.
	Advertise, Listen string
}

// memberDir is where in the data directory it is said which cluster an agent belongs to.
const memberDir = "cluster"

// Join makes an empty directory that of an agent, with a join token, by asking the node at address. When it failed, or
// was interrupted, it may be repeated with the same token. Errors: ErrTokenRole, ErrServer, those of membership.Join.
func Join(ctx context.Context, dataDir, address string, token pki.JoinToken, m Member, version string) error {
	if token.Role != pki.RoleHost {
		return fmt.Errorf("%w: it is for a %s", ErrTokenRole, token.Role)
	}
	if err := noServer(dataDir); err != nil {
		return err
	}
	listen := m.Listen
	if listen == "" {
		listen = m.Advertise
	}
	_, err := membership.Join(ctx, filepath.Join(dataDir, memberDir), address, token,
		membership.Membership{Name: m.Name, Listen: listen, Advertise: m.Advertise},
		membership.Program{Version: version})
	return err
}

// noServer refuses the directory of a server, which keeps its log and state there.
func noServer(dataDir string) error {
	for _, of := range []string{"raft", "state"} {
		if _, err := os.Lstat(filepath.Join(dataDir, of)); err == nil {
			return fmt.Errorf("%s: %w", dataDir, ErrServer)
		}
	}
	return nil
}

// load reads who the agent of a directory is.
func load(dataDir string) (membership.Membership, error) {
	m, err := membership.Load(filepath.Join(dataDir, memberDir))
	switch {
	case err == nil && m.Role != pki.RoleHost:
		return m, fmt.Errorf("%s: %w", dataDir, ErrServer)
	case errors.Is(err, membership.ErrNone):
		return m, errors.Join(noServer(dataDir), fmt.Errorf("%s: %w", dataDir, ErrNotJoined))
	}
	return m, err
}
