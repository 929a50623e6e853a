package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Errors of Recover.
var (
	// ErrNoCluster says that a data directory is not that of a node of several.
	ErrNoCluster = errors.New("not a node of a cluster")
	// ErrNothingLost says that a node is the only one that votes already.
	ErrNothingLost = errors.New("the only node that votes already")
)

// Estate is what a node has that is to be the only one left of its cluster.
type Estate struct {
	cluster.Testimony

	// Applied is how far its state is; the rest of its log is applied when it is recovered.
	Applied uint64
	// Lost are the names of the other nodes.
	Lost []string
	// Stranded are the resources that are on lost nodes, as far as is applied.
	Stranded []Stranded
}

// Stranded counts the resources of a kind that are on a lost node.
type Stranded struct {
	Node  string
	Kind  resources.Kind
	Count int
}

// Recovered is what Recover made.
type Recovered struct {
	// ClusterID names the new cluster, Name its only node.
	ClusterID, Name string
	// Kept is the directory with what the node was before.
	Kept string
	// Resumed says that all was decided on before, by a call that was interrupted.
	Resumed bool
}

// Recover makes the node of a data directory, whose server does not run, the only one of a new cluster with the state
// that it has: for when most nodes of its cluster are lost for good. Confirm is told what it has and may refuse; before
// that nothing is changed. Whenever it is interrupted the directory is that of the old cluster, or of the new one;
// called again it finishes.
func Recover(ctx context.Context, dataDir string, confirm func(Estate) error) (Recovered, error) {
	made, err := settle(dataDir)
	if err != nil || made != (Recovered{}) {
		made.Resumed = true
		return made, err
	}
	if err := ownedZone(dataDir); err != nil {
		return Recovered{}, err
	}
	m, err := membership.Load(filepath.Join(dataDir, memberDir))
	if errors.Is(err, membership.ErrNone) {
		err = ErrNoCluster
	}
	if err != nil {
		return Recovered{}, fmt.Errorf("%s: %w", dataDir, err)
	}
	r := &recovery{dataDir: dataDir, member: m}
	defer r.close()
	if err := r.open(); err != nil {
		return Recovered{}, whoUses(dataDir, err)
	}
	estate, err := r.estate()
	if err != nil {
		return Recovered{}, err
	}
	if len(estate.Lost) == 0 {
		return Recovered{}, fmt.Errorf("%s of %s: %w", m.Name, dataDir, ErrNothingLost)
	}
	if err := confirm(estate); err != nil {
		return Recovered{}, err
	}
	if err := r.build(ctx, estate); err != nil {
		return Recovered{}, fmt.Errorf("recovering: %w", err)
	}
	return settle(dataDir)
}

// recovery makes a new cluster beside the old one.
type recovery struct {
	dataDir  string
	member   membership.Membership
	store    *badgerstore.Store
	machine  *persistence.Machine
	survivor *cluster.Survivor
}

func (r *recovery) open() (err error) {
	r.store, r.machine, err = openMachine(filepath.Join(r.dataDir, stateDir))
	if err == nil {
		r.survivor, err = cluster.OpenSurvivor(filepath.Join(r.dataDir, raftDir))
	}
	return err
}

// openMachine opens a state.
func openMachine(dir string) (*badgerstore.Store, *persistence.Machine, error) {
	store, err := badgerstore.Open(badgerstore.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, fmt.Errorf("opening the state: %w", err)
	}
	codec, err := persistence.NewCodec(resources.NewVocabulary())
	if err != nil {
		return store, nil, err
	}
	machine, err := persistence.Open(store, codec)
	return store, machine, err
}

func (r *recovery) close() {
	if r.survivor != nil {
		r.survivor.Close() //nolint:errcheck // it is left as it was
	}
	if r.store != nil {
		r.store.Close() //nolint:errcheck // the same
	}
}

// build makes the new cluster in a directory of its own, which counts once it has its
// last name.
func (r *recovery) build(ctx context.Context, e Estate) error {
	dir := filepath.Join(r.dataDir, recoveringDir)
	if err := os.RemoveAll(dir); err != nil { // of a call that was interrupted
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	clusterID := strings.ToLower(rand.Text())
	if err := r.fill(ctx, dir, clusterID, e); err != nil {
		return err
	}
	made := Recovered{ClusterID: clusterID, Name: r.member.Name, Kept: r.unusedName(e.ClusterID)}
	if err := writePlan(dir, made); err != nil {
		return err
	}
	if err := durable.Sync(dir); err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(r.dataDir, recoveredDir)); err != nil {
		return err
	}
	return durable.Sync(r.dataDir)
}

// fill puts into the directory what the new cluster begins with: the state, its only member and the log.
func (r *recovery) fill(ctx context.Context, dir, clusterID string, e Estate) error {
	store, machine, err := openMachine(filepath.Join(dir, stateDir))
	if store != nil {
		defer store.Close() //nolint:errcheck // closed below; it may be closed twice
	}
	if err != nil {
		return err
	}
	if err := r.copyState(machine); err != nil {
		return err
	}
	if err := r.refound(filepath.Join(dir, memberDir), clusterID, machine); err != nil {
		return err
	}
	to := cluster.Successor{
		Dir: filepath.Join(dir, raftDir), ClusterID: clusterID, Address: r.member.Advertise,
	}
	if to.Commands, err = r.commands(machine, e, clusterID); err != nil {
		return err
	}
	if err := r.survivor.Succeed(to); err != nil {
		return err
	}
	if err := errors.Join(ctx.Err(), machine.Sync(), store.Close()); err != nil {
		return fmt.Errorf("keeping the state: %w", err)
	}
	return nil
}

// refound makes the member of the new cluster: who the node was when the log ended.
func (r *recovery) refound(dir, clusterID string, m *persistence.Machine) error {
	var was persistence.Member
	err := m.View(func(v *persistence.View) (err error) {
		was, _, err = v.Member(persistence.RoleNode, r.member.Name)
		return err
	})
	if err != nil {
		return err
	}
	keys, err := membership.SecretKeys(filepath.Join(r.dataDir, memberDir))
	if err != nil {
		return err
	}
	if keys != nil { // secrets in the state stay sealed as they are
		if err := membership.SaveSecretKeys(dir, keys); err != nil {
			return err
		}
	}
	_, err = membership.Refound(dir, r.member, clusterID, was.Admission)
	return err
}

// unusedName is that of the directory for what the node was before.
func (r *recovery) unusedName(clusterID string) string {
	name := keptPrefix + clusterID
	for n := 2; ; n++ {
		if _, err := os.Lstat(filepath.Join(r.dataDir, name)); err != nil {
			return name
		}
		name = fmt.Sprintf("%s%s-%d", keptPrefix, clusterID, n)
	}
}

// copyState copies the state, and applies the rest of the log to the copy.
func (r *recovery) copyState(to *persistence.Machine) error {
	if r.machine.AppliedIndex() > 0 {
		if err := r.transfer(to); err != nil {
			return fmt.Errorf("copying the state: %w", err)
		}
	}
	return r.survivor.Replay(stateMachine{to}, cluster.Levels(persistence.ProgramLevels()), to.Level)
}

func (r *recovery) transfer(to *persistence.Machine) error {
	frozen, err := r.machine.Freeze()
	if err != nil {
		return err
	}
	defer frozen.Release()
	in, out := io.Pipe()
	go func() {
		_, err := frozen.WriteTo(out)
		out.CloseWithError(err)
	}()
	err = to.Load(in)
	return errors.Join(err, in.Close())
}

// commands are what is decided in the new cluster first: that nobody else belongs to it,
// that no invitation to the old one is good for it, and that it is another one.
func (r *recovery) commands(m *persistence.Machine, e Estate, clusterID string) (list [][]byte, err error) {
	origin := resources.Origin{Principal: localPrincipal(), Source: "local"}
	var commands []persistence.Command
	err = m.View(func(v *persistence.View) error {
		members, err := v.Members()
		if err != nil {
			return err
		}
		commands = r.expel(members, e.Lost, origin)
		open, err := v.Invitations()
		if err != nil {
			return err
		}
		for _, i := range open {
			commands = append(commands, &persistence.Invite{
				Invitation: persistence.Invitation{ID: i.ID}, Revoke: true, Origin: origin,
			})
		}
		rename, err := renameCluster(m, v, clusterID)
		commands = append(commands, rename)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, c := range commands {
		data, err := m.Codec().EncodeCommand(c)
		if err != nil {
			return nil, err
		}
		list = append(list, data)
	}
	return list, nil
}

// expel takes all others out, and has this node work if it was not to.
func (r *recovery) expel(members []persistence.Member, lost []string, o resources.Origin) (list []persistence.Command) {
	for _, name := range lost { // who began the cluster may not be among the members
		if !slices.ContainsFunc(members, func(m persistence.Member) bool {
			return m.Role == persistence.RoleNode && m.Name == name
		}) {
			members = append(members, persistence.Member{Role: persistence.RoleNode, Name: name})
		}
	}
	for _, m := range members {
		own := m.Role == persistence.RoleNode && m.Name == r.member.Name
		expel := &persistence.Expel{Role: m.Role, Name: m.Name, Origin: o}
		switch {
		case own && (m.Draining || m.Expelled):
			expel.Drain = new(bool)
		case own || m.Expelled:
			continue
		}
		list = append(list, expel)
	}
	return list
}

// renameCluster has the zone say which cluster manages it now.
func renameCluster(m *persistence.Machine, v *persistence.View, clusterID string) (*persistence.Submit, error) {
	zone, err := v.Zone()
	if err != nil {
		return nil, err
	}
	next := *zone
	next.Status.ClusterID = clusterID
	doc, err := m.Codec().Seal(&next)
	if err != nil {
		return nil, err
	}
	op, err := m.Codec().Seal(&resources.Operation{
		Meta: resources.Meta{
			Kind: resources.KindOperation, ID: newID(resources.NewVocabulary(), resources.KindOperation, time.Now()),
		},
		Action: "update", Target: zone.Ref(), Principal: localPrincipal(),
	})
	return &persistence.Submit{Operation: op, Resource: doc, Instant: true, Source: "local"}, err
}
