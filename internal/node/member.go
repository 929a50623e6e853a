package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// Member says what a node is called and where others reach it.
type Member struct {
	// Name of the node; empty = the one the data directory has, or "node-1".
	Name string
	// Advertise is where other nodes reach it, Listen where it listens for them, both
	// host:port. Listen is Advertise if it is empty.
	Advertise, Listen string
}

// Init makes the node of a data directory reachable for others: the first node of a
// cluster that others can join. The directory may be that of a node that was alone,
// whose server does not run. It returns the name of the node.
func Init(dataDir string, m Member) (string, error) {
	if err := notAgents(dataDir); err != nil {
		return "", err
	}
	clusterID, name, err := cluster.ReadIdentity(filepath.Join(dataDir, raftDir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		name = defaultName
	case err != nil:
		return "", err
	case m.Name != "" && m.Name != name:
		return "", fmt.Errorf("the node of %s is called %s: it can't be called %s", dataDir, name, m.Name)
	}
	if m.Name != "" {
		name = m.Name
	}
	_, err = membership.Found(filepath.Join(dataDir, memberDir), m.membership(clusterID, name))
	return name, err
}

func (m Member) membership(clusterID, name string) membership.Membership {
	listen := m.Listen
	if listen == "" {
		listen = m.Advertise
	}
	return membership.Membership{ClusterID: clusterID, Name: name, Listen: listen, Advertise: m.Advertise}
}

// ErrAgent says that a data directory is that of the agent of a host.
var ErrAgent = errors.New("the data directory of an agent")

// ErrTokenRole says that a join token does not let a node in.
var ErrTokenRole = errors.New("the join token is not for a node")

// notAgents refuses the directory of an agent.
func notAgents(dataDir string) error {
	m, err := membership.Load(filepath.Join(dataDir, memberDir))
	if err == nil && m.Role != pki.RoleNode {
		return fmt.Errorf("%s: %w", dataDir, ErrAgent)
	}
	return nil // what else is wrong with it is found out later
}

// ErrHasState says that a data directory has a zone of its own, which joining would
// replace.
var ErrHasState = errors.New("there is a zone in the data directory already")

// Join makes a data directory that of a node which joins a cluster, with the text of
// a join token, by asking the node at address.
func Join(ctx context.Context, dataDir, address string, token pki.JoinToken, m Member, version string) error {
	if token.Role != pki.RoleNode {
		return fmt.Errorf("%w: it is for a %s", ErrTokenRole, token.Role)
	}
	if err := notAgents(dataDir); err != nil {
		return err
	}
	if _, _, err := cluster.ReadIdentity(filepath.Join(dataDir, raftDir)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s: %w", dataDir, ErrHasState), err)
	}
	levels := persistence.ProgramLevels()
	program := membership.Program{
		Version: version, EntryFormat: cluster.EntryFormat, OldestLevel: levels.Oldest, NewestLevel: levels.Newest,
	}
	_, err := membership.Join(ctx, filepath.Join(dataDir, memberDir), address, token, m.membership("", m.Name), program)
	return err
}
