package node

import (
	"context"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/actors/placement"
	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// OpenSpool opens a spool of uploads.
func OpenSpool(dir string) (api.Uploads, error) { return newSpool(dir, defaultID) }

// Tidy is what gives memory back while a server is at rest.
func Tidy(ctx context.Context, allocated func() uint64, giveBack func()) {
	tidy(ctx, allocated, giveBack)
}

// PercentFor is how much garbage may gather, of what is in use.
func PercentFor(live, garbage uint64) int { return percentFor(live, garbage) }

// CollectSeldom sets a percentage after each collection.
func CollectSeldom(garbage uint64, set func(percent int) (before int)) { collectSeldom(garbage, set) }

// Fleet is the drivers of all nodes and agents, as this node's actors reach them.
func (n *Node) Fleet() operations.Drivers { return n.fleet() }

// Log is a cluster as the actors propose to it.
func Log(n *cluster.Node, m *persistence.Machine) actors.Log {
	return &proposer{node: n, machine: m, codec: m.Codec()}
}

// Fresh is how a node of several waits until it knows what any node answered.
func Fresh(n *cluster.Node) func(context.Context) error {
	return (&Node{network: &network{}, cluster: n}).fresh
}

// Leading is what a placer asks.
func Leading(n *cluster.Node) func(time.Duration) ([]placement.Member, uint64) {
	return (&Node{cluster: n}).leading
}

// ArchiveName is what a version is called that is installed from an archive.
func ArchiveName(product, version, digest string) string {
	return archiveName(&archive.Declaration{Name: product, Version: version}, digest)
}

// Uses tells how many resources a version acts for, of which count makes the counts.
func Uses(count func(d *resources.Driver) ([]resources.BoundCount, error)) func(id string) (int, error) {
	u := &uses{count: count, by: map[string]*counted{}}
	return func(id string) (int, error) { return u.total(&resources.Driver{Meta: resources.Meta{ID: id}}) }
}

// Tokens are those that are known as long as none changes.
type Tokens struct{ tokens }

// NewTokens knows none of a machine's.
func NewTokens(m *persistence.Machine) *Tokens { return &Tokens{tokens{machine: m}} }

// Find returns a token, nil if it is not known.
func (t *Tokens) Find(id string) (*resources.Token, uint64) { return t.find(id) }

// Keep remembers a token that was read after so many changes.
func (t *Tokens) Keep(token *resources.Token, changes uint64) { t.keep(token, changes) }

// settings are those of a pool.
func (n *Node) settings(pool string) (found resources.Settings, err error) {
	err = n.machine.View(func(v *persistence.View) error {
		r, err := v.Get(resources.Ref{Kind: resources.KindPool, ID: pool})
		if err == nil {
			for _, found = range resources.SettingsOf(r) {
				return nil
			}
		}
		return err
	})
	return found, err
}

// SealedText is the text of the sealed access key of a pool; "" = it is not sealed.
func (n *Node) SealedText(pool string) string {
	s, err := n.settings(pool)
	text, sealed := resources.SealedText(s.Values["accessKey"])
	if err != nil || !sealed {
		return ""
	}
	return text
}

// Secret is the access key of a pool as calls carry it.
func (n *Node) Secret(pool string) (string, error) {
	s, err := n.settings(pool)
	if err != nil {
		return "", err
	}
	_, closed, err := n.system.Engine().Part(s, "")
	return closed["accessKey"], err
}

// Snapshot has the node take one of the state.
func (n *Node) Snapshot() error { return n.cluster.Snapshot() }

// Taking is which archives are being installed.
type Taking struct{ taking }

// Begin keeps all archives until the end.
func (t *Taking) Begin() { t.begin() }

// End drops what was refused.
func (t *Taking) End(digest string, well bool, drop func(digest string)) { t.end(digest, well, drop) }
