package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// rotateEvery is how often a node looks how far a rotation is.
const rotateEvery = 500 * time.Millisecond

// Rotation implements door.Cluster.
func (c *nodes) Rotation(context.Context) (door.RotationView, error) {
	r, lagging, err := c.node.rotation()
	if err == nil && len(lagging) == 0 && r.Secret == persistence.RotationSecretKeys &&
		r.Phase == persistence.RotationUsing {
		if waits := c.node.sealedOtherwise(r.New); waits != nil {
			lagging = []string{waits.Error()}
		}
	}
	v := door.RotationView{
		Secret: door.RotatedSecret(r.Secret), Phase: door.RotationNone, BegunAt: r.BegunAt, Since: r.Since, Lagging: lagging,
	}
	if r.Phase != "" {
		v.Phase = door.RotationPhase(r.Phase)
	}
	return v, err
}

// Rotate implements door.Cluster.
func (c *nodes) Rotate(ctx context.Context, secret door.RotatedSecret, o resources.Origin) (door.RotationView, error) {
	n := c.node
	if n.network == nil && secret != door.SecretKeys {
		return door.RotationView{}, door.NoCluster()
	}
	for _, m := range n.cluster.Members() {
		if m.ID != n.config.Name && m.Version != "" && m.Version != n.config.Version {
			return door.RotationView{}, door.VersionsDiffer(n.config.Version, m.ID, m.Version)
		}
	}
	r, err := n.newSecret(secret, time.Now())
	if err != nil {
		return door.RotationView{}, err
	}
	if _, err := n.log.Propose(ctx, &persistence.Rotate{Begin: &r, Origin: o}); err != nil {
		return door.RotationView{}, err
	}
	return c.Rotation(ctx)
}

// newSecret makes the secret that replaces one.
func (n *Node) newSecret(secret door.RotatedSecret, now time.Time) (persistence.Rotation, error) {
	if secret == door.SecretKeys {
		under, _, err := n.rotation()
		if err != nil || !under.Under() || !n.stuck(under) {
			return n.newSecretKey("")
		}
		return n.newSecretKey(under.ID)
	}
	return n.network.newSecret(secret, now)
}

// newSecret makes the secret that replaces one.
func (w *network) newSecret(secret door.RotatedSecret, now time.Time) (r persistence.Rotation, err error) {
	w.changing.Lock()
	defer w.changing.Unlock()
	r = persistence.Rotation{ID: strings.ToLower(rand.Text()[:12]), Secret: string(secret)}
	var fresh []byte
	switch secret {
	case door.SecretAuthority:
		next, err := pki.NewAuthority(w.member.ClusterID, now)
		if err != nil {
			return r, err
		}
		r.Old, r.New, fresh = w.authority.Pin(), next.Pin(), next.MarshalPEM()
	case door.SecretGossipKey:
		fresh = gossip.NewKey()
		r.Old, r.New = w.gossip.Keys()[0], gossip.Fingerprint(fresh)
	default:
		return r, fmt.Errorf("replacing a secret: there is no %q", secret)
	}
	r.Sealed, err = w.authority.Seal(string(secret), fresh)
	return r, err
}

// names of the nodes that belong to the cluster.
func (n *Node) names() []string {
	var names []string
	for _, m := range n.cluster.Members() {
		names = append(names, m.ID)
	}
	return names
}

// rotateRegularly does this node's part in rotations, and has the next phase begin if
// it leads.
func (n *Node) rotateRegularly(ctx context.Context) {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	log := n.config.Log.With(slog.String("component", "rotation"))
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := n.rotate(ctx, log)
		switch {
		case err == nil:
			said = ""
		case err.Error() != said && ctx.Err() == nil:
			said = err.Error()
			log.Warn("taking part in a rotation failed; it is tried again", slog.Any("error", err))
		}
	}
}

// rotation is the one that goes on, or else the last one, and who lags in it.
func (n *Node) rotation() (r persistence.Rotation, lagging []string, err error) {
	err = n.machine.View(func(v *persistence.View) (err error) {
		if r, err = v.Rotation(); err == nil {
			lagging, err = v.Lagging(r, n.names())
		}
		return err
	})
	return r, lagging, err
}

func (n *Node) rotate(ctx context.Context, log *slog.Logger) error {
	r, lagging, err := n.rotation()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	if !r.Under() || n.stuck(r) {
		return n.keepSealed(ctx, r)
	}
	if !r.Has(string(pki.RoleNode), n.config.Name) {
		if err := n.reach(r); err != nil {
			return fmt.Errorf("%s the %s: %w", r.Phase, r.Secret, err)
		}
		log.Info("a phase of a rotation is reached", slog.String("secret", r.Secret), slog.String("phase", string(r.Phase)))
		return n.proposeRotate(ctx, &persistence.Rotate{Reached: &persistence.RotationReached{
			ID: r.ID, Role: string(pki.RoleNode), Name: n.config.Name, Phase: r.Phase,
		}})
	}
	if !n.cluster.Status().Leading {
		return nil
	}
	if len(lagging) > 0 {
		return n.reachWithAgents(ctx, r, lagging)
	}
	if err := n.giveUpOldKey(ctx, r); err != nil {
		return err
	}
	return n.proposeRotate(ctx, &persistence.Rotate{Advance: &persistence.RotationAdvance{
		ID: r.ID, Phase: r.Phase, Nodes: n.names(),
	}})
}

// reachWithAgents notes which agents have reached a phase, once all nodes have: they are
// told by each of them.
func (n *Node) reachWithAgents(ctx context.Context, r persistence.Rotation, lagging []string) error {
	role := string(pki.RoleHost)
	var names []string
	for _, member := range lagging {
		name, isAgent := strings.CutPrefix(member, role+" ")
		if !isAgent {
			return nil
		}
		names = append(names, name)
	}
	for _, name := range names {
		if !n.agents.hasReached(name, r) {
			continue
		}
		err := n.proposeRotate(ctx, &persistence.Rotate{Reached: &persistence.RotationReached{
			ID: r.ID, Role: role, Name: name, Phase: r.Phase,
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// proposeTime bounds how long a proposal of a chore waits for somebody to lead.
const proposeTime = 10 * time.Second

// proposeRotate proposes what may have been decided meanwhile.
func (n *Node) proposeRotate(ctx context.Context, c *persistence.Rotate) error {
	_, err := n.log.Propose(ctx, c)
	if resources.ClassOf(err) == resources.ClassStale {
		return nil
	}
	return err
}

// stuck reports whether nobody can go on with a rotation: the zone was restored, or recovered, from what it was in the
// middle of it.
func (n *Node) stuck(r persistence.Rotation) bool {
	if n.network == nil && !r.Alone || r.Secret != persistence.RotationSecretKeys {
		return n.network == nil
	}
	if !n.alone() || n.secrets.Ring().Has(r.New) {
		return false
	}
	_, err := n.openSecretKey(r)
	return err != nil
}

// reach does what a phase of a rotation asks of this node, and what those before it did.
func (n *Node) reach(r persistence.Rotation) error {
	if r.Secret == persistence.RotationSecretKeys {
		return n.reachSecretKeys(r)
	}
	return n.network.reach(r)
}

// reach does what a phase of a rotation asks of a node, and what those before it did.
// It may be interrupted and repeated.
func (w *network) reach(r persistence.Rotation) error {
	w.changing.Lock()
	defer w.changing.Unlock()
	switch door.RotatedSecret(r.Secret) {
	case door.SecretAuthority:
		return w.reachAuthority(r)
	case door.SecretGossipKey:
		return w.reachGossipKey(r)
	case door.SecretKeys: // they are the node's, which may have no network
	}
	return errors.New("this program knows no such secret; install the version that the other nodes run")
}

func (w *network) reachAuthority(r persistence.Rotation) error {
	next := w.authority
	if next.Pin() != r.New {
		text, err := next.Open(r.Secret, r.Sealed)
		if err != nil {
			return err
		}
		if next, err = pki.ParseAuthority(text); err != nil {
			return err
		}
	}
	trust, err := w.holder.Identity().Trust().With(next.Certificate())
	if err != nil {
		return err
	}
	if err := w.trust(trust); err != nil {
		return err
	}
	if r.Phase.After(persistence.RotationAdding) {
		if err := w.signWith(next); err != nil {
			return err
		}
	}
	if !r.Phase.After(persistence.RotationUsing) {
		return nil
	}
	if trust, err = trust.Without(r.Old); err != nil {
		return err
	}
	if err := w.trust(trust); err != nil {
		return err
	}
	w.wire.Recheck()
	return nil
}

// trust believes some authorities and no others from now on.
func (w *network) trust(trust *pki.Trust) error {
	if slices.Equal(trust.Pins(), w.holder.Identity().Trust().Pins()) {
		return nil
	}
	identity, err := w.holder.Identity().WithTrust(trust)
	if err != nil {
		return err
	}
	if err := membership.SaveIdentity(w.dir, identity); err != nil {
		return err
	}
	return w.holder.Set(identity)
}

// signWith has all certificates signed by an authority from now on, this node's own at
// once.
func (w *network) signWith(next *pki.Authority) error {
	if w.authority.Pin() != next.Pin() {
		if err := membership.SaveAuthority(w.dir, next); err != nil {
			return err
		}
		w.authority = next
	}
	had := w.holder.Identity()
	if had.Trust().IssuerPin(had.Certificate()) == next.Pin() {
		return nil
	}
	return w.renew(had.Name().Admission)
}

func (w *network) reachGossipKey(r persistence.Rotation) error {
	keys, err := membership.GossipKeys(w.dir)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(keys, func(key []byte) bool { return gossip.Fingerprint(key) == r.New })
	if at < 0 {
		key, err := w.authority.Open(r.Secret, r.Sealed)
		if err != nil {
			return err
		}
		keys, at = append(keys, key), len(keys)
	}
	next := keys[at]
	if err := w.gossip.AddKey(next); err != nil {
		return err
	}
	if r.Phase.After(persistence.RotationAdding) {
		if err := w.gossip.UseKey(next); err != nil {
			return err
		}
		keys = slices.Insert(slices.Delete(keys, at, at+1), 0, next)
	}
	if r.Phase.After(persistence.RotationUsing) {
		for _, key := range keys[1:] {
			if err := w.gossip.RemoveKey(key); err != nil {
				return err
			}
		}
		keys = keys[:1]
	}
	had, err := membership.GossipKeys(w.dir)
	if err != nil || slices.EqualFunc(had, keys, bytes.Equal) {
		return err
	}
	return membership.SaveGossipKeys(w.dir, keys)
}
