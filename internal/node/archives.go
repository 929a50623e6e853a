package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/shelf"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// archivesDir is where in the data directory the archives of installed drivers are.
	archivesDir = "archives"
	// shareEvery is how often it is looked whether a member lacks an archive.
	shareEvery = 2 * time.Second
	// lacksTime is how long a member has to say what it lacks, giveTime how long it takes to give it one.
	lacksTime = 3 * time.Second
	giveTime  = 10 * time.Minute
)

// openShelf opens the archives of installed drivers.
func (n *Node) openShelf(context.Context) (err error) {
	n.shelf, err = shelf.Open(filepath.Join(n.config.DataDir, archivesDir), archive.DefaultLimits())
	return err
}

// TakeArchive implements api.Archives. The archive is here and, if there are several nodes, with a second one when it
// returns: whichever of them is lost, the others get it.
func (n *Node) TakeArchive(ctx context.Context, from io.Reader) (*resources.Driver, error) {
	if err := n.fresh(ctx); err != nil {
		return nil, err
	}
	digest, well := "", false
	n.taking.begin()
	defer func() { n.taking.end(digest, well, n.dropArchive) }()
	found, err := n.shelf.Put(ctx, from, "")
	if err != nil {
		return nil, badArchive(err)
	}
	digest = found.Digest
	record, err := n.recordOf(found)
	if err == nil {
		err = n.secure(ctx, digest)
	}
	well = err == nil
	return record, err
}

// taking is which archives are being installed: what one installation does not need another one may.
type taking struct {
	mu sync.Mutex
	// underWay counts installations that look at an archive: which one is known once it is here.
	underWay int
	// refused are archives that nobody may need; promised is when one was last found to be well: it is submitted then.
	refused  map[string]bool
	promised map[string]time.Time
}

// promiseTime is how long it may take until what is promised is submitted. What is not is removed at the next start.
const promiseTime = 10 * time.Minute

// begin keeps all archives until the end.
func (t *taking) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.underWay++
}

// end drops what was refused, once no other installation is under way that may need it. Digest is "" if there is no
// archive.
func (t *taking) end(digest string, well bool, drop func(digest string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.promised == nil {
		t.refused, t.promised = map[string]bool{}, map[string]time.Time{}
	}
	t.underWay--
	switch {
	case well:
		t.promised[digest] = time.Now()
	case digest != "":
		t.refused[digest] = true
	}
	if t.underWay > 0 {
		return
	}
	maps.DeleteFunc(t.promised, func(_ string, at time.Time) bool { return time.Since(at) > promiseTime })
	for one := range t.refused {
		if _, needed := t.promised[one]; !needed {
			drop(one)
		}
	}
	clear(t.refused)
}

// InstalledFrom implements api.Archives.
func (n *Node) InstalledFrom(_ context.Context, d *resources.Driver) (found *resources.Driver, err error) {
	fresh := *d
	fresh.Meta = resources.Meta{Kind: d.Kind, Name: d.Name}
	found = &fresh
	err = n.machine.View(func(v *persistence.View) error {
		versions, err := v.Versions(d.Spec.Product)
		for _, one := range versions {
			if one.Spec.Version == d.Spec.Version && one.Spec.Digest == d.Spec.Digest {
				found = one
			}
		}
		return err
	})
	return found, err
}

// badArchive says what is wrong with an archive.
func badArchive(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, shelf.ErrNoRoom) {
		return &resources.Error{
			Class: resources.ClassExhausted, Code: "disk-low", Message: "the archive can't be kept: " + err.Error(),
			Remedy: "free space in the data directory of the node that was asked, uninstall versions that nothing is bound " +
				"to, or ask another node",
		}
	}
	_, ours := errors.AsType[*fs.PathError](err) // of a file in the data directory
	if ours || errors.Is(err, unix.EROFS) {
		return &resources.Error{
			Class: resources.ClassUnavailable, Code: "archive-not-kept", Message: "the archive can't be kept: " + err.Error(),
			Remedy: "see that the data directory of the node that was asked can be written to, or ask another node",
		}
	}
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "archive-invalid", Message: err.Error(),
		Remedy: "see what \"bulkhead driver verify\" says of it, and get it from its vendor again",
	}
}

// otherServer says that a driver is for other versions of the server.
func otherServer(why error) error {
	const code = "server-out-of-range"
	return &resources.Error{
		Class: resources.ClassConflict, Code: code, Message: why.Error(),
		Remedy: "ask the vendor for a version that runs under this one, or upgrade the server first",
		Fields: []resources.FieldError{{Pointer: "/requires/server", Code: code, Message: why.Error()}},
	}
}

// recordOf is the record of an archive: the one that there is, or a new one that is to be submitted.
func (n *Node) recordOf(found *archive.Archive) (*resources.Driver, error) {
	d := found.Declaration
	if _, err := d.Manifest(driving.Platform(), n.shelf.Dir(found.Digest)); err != nil {
		return nil, badArchive(err)
	}
	if err := d.RunsUnder(n.config.Version); err != nil {
		return nil, otherServer(err)
	}
	var versions []*resources.Driver
	err := n.machine.View(func(v *persistence.View) (err error) {
		if err = v.Require(persistence.FeatureDriverVersions); err == nil {
			versions, err = v.Versions(d.Name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	installs := uint64(0)
	for _, one := range versions {
		if one.Spec.Version != d.Version {
			if one.Spec.Digest == found.Digest { // a variant of it is there: members get its archive anew too
				installs = max(installs, one.Spec.Installs+1)
			}
			continue
		}
		if one.Spec.Digest == found.Digest {
			return one, nil
		}
		facts := &resources.DriverFacts{Driver: one, There: true, OtherArchive: true}
		_, err := facts.Decide(resources.DriverInstall)
		return nil, err
	}
	status, err := driving.Declared(d)
	if err != nil {
		return nil, badArchive(err)
	}
	record := &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: archiveName(d, found.Digest)}, Status: status,
		Spec: resources.DriverSpec{
			Product: d.Name, Version: d.Version, Categories: d.Categories, Enabled: true, Current: len(versions) == 0,
			Digest: found.Digest, Tree: found.Tree(), Requires: d.Required(), Installs: installs,
		},
	}
	record.Inherit(resources.CurrentDriver(versions))
	err = n.system.Engine().MayInstall(record)
	if err != nil && resources.AsError(err).Code == resources.CodeInstalledMeanwhile {
		return n.recordOf(found)
	}
	return record, err
}

// longestName is how long the name of a resource may be.
const longestName = 63

// archiveName is what a version is called: no built-in driver has a version in its name. Where that is no name of a
// resource, since it is too long or not in lower case, the end of it is from the digest.
func archiveName(d *archive.Declaration, digest string) string {
	plain := strings.NewReplacer("/", ".", "+", ".").Replace(d.Name + "-" + d.Version)
	name := strings.ToLower(plain)
	if name == plain && len(name) <= longestName && strings.TrimRight(name, "-.") == name {
		return name
	}
	_, sum, _ := strings.Cut(digest, ":")
	mark := "-" + sum[:min(len(sum), markLength)]
	return strings.TrimRight(name[:min(len(name), longestName-len(mark))], "-.") + mark
}

// markLength is how much of a digest tells two names apart.
const markLength = 12

// dropArchive removes an archive that came to nothing, unless it is one that is installed. If it can't, the next start
// does.
func (n *Node) dropArchive(digest string) {
	if slices.Contains(n.installed(), digest) {
		return
	}
	if err := n.shelf.Remove(digest); err != nil {
		n.config.Log.Warn("removing an archive that nobody installed failed", slog.String("digest", digest),
			slog.Any("error", err))
	}
}

// installed lists the digests of the versions that the zone knows.
func (n *Node) installed() (digests []string) {
	err := n.machine.View(func(v *persistence.View) error {
		versions, err := v.Versions("")
		for _, d := range versions {
			if d.Spec.Digest != "" {
				digests = append(digests, d.Spec.Digest)
			}
		}
		return err
	})
	if err != nil {
		n.config.Log.Warn("reading which drivers are installed failed", slog.Any("error", err))
	}
	return digests
}

// secure gives an archive to a second node, if there is one.
func (n *Node) secure(ctx context.Context, digest string) error {
	if n.network == nil {
		return nil
	}
	others, failed := 0, error(nil)
	for _, m := range n.cluster.Members() {
		if m.ID == n.config.Name {
			continue
		}
		others++
		conn, err := n.cluster.Conn(m.ID)
		if err == nil {
			err = n.give(ctx, conn, digest)
		}
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("node %s: %w", m.ID, err))
	}
	if others == 0 {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: "archive-unsecured",
		Message: fmt.Sprintf("no second node takes the archive: %v", failed),
		Remedy:  "see \"bulkhead node list\": start a second node, and install it again",
	}
}

// give has a member keep an archive, if it lacks it.
func (n *Node) give(ctx context.Context, conn grpc.ClientConnInterface, digests ...string) error {
	asking, cancel := context.WithTimeout(ctx, lacksTime)
	lacked, err := relay.Lacked(asking, conn, digests)
	cancel()
	if err != nil {
		return err
	}
	for _, digest := range lacked {
		car, err := n.shelf.Open(digest)
		if err != nil {
			continue // another node has it
		}
		if err = errors.Join(n.giveOne(ctx, conn, digest, car), car.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) giveOne(ctx context.Context, conn grpc.ClientConnInterface, digest string, car *os.File) error {
	about, err := car.Stat()
	if err != nil {
		return fmt.Errorf("giving archive %s: %w", digest, err)
	}
	ctx, cancel := context.WithTimeout(ctx, giveTime)
	defer cancel()
	return relay.GiveArchive(ctx, conn, digest, about.Size(), car)
}

// shareArchives gives the other members what they lack of the archives of installed drivers, until ctx ends.
func (n *Node) shareArchives(ctx context.Context) {
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for {
		if digests := n.installed(); len(digests) > 0 {
			n.share(ctx, digests)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *Node) share(ctx context.Context, digests []string) {
	var giving sync.WaitGroup
	defer giving.Wait()
	for name, conn := range n.members() {
		giving.Go(func() {
			if err := n.give(ctx, conn, digests...); err != nil && ctx.Err() == nil {
				n.config.Log.Debug("a member was not given what it lacks", slog.String("member", name), slog.Any("error", err))
			}
		})
	}
}

// members are those that can be reached now, but for this one.
func (n *Node) members() map[string]grpc.ClientConnInterface {
	found := n.agents.conns()
	for _, m := range n.cluster.Members() {
		if m.ID == n.config.Name {
			continue
		}
		if conn, err := n.cluster.Conn(m.ID); err == nil {
			found[m.ID] = conn
		}
	}
	return found
}

// conns are the connections to the agents that report.
func (a *agents) conns() map[string]grpc.ClientConnInterface {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := map[string]grpc.ClientConnInterface{}
	for name, one := range a.by {
		one.mu.Lock()
		if one.conn != nil {
			found[name] = one.conn
		}
		one.mu.Unlock()
	}
	return found
}
