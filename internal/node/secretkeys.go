package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// secretKeys are the keys that secrets of resources are sealed with, and the file that they are in.
type secretKeys struct {
	secrets.Keeper
	dir string

	changing sync.Mutex // who changes them
	// sealedAt is the count of changes of drivers at which nothing lay in clear; it belongs to who does rotations.
	sealedAt uint64
}

// openSecrets reads the keys that this node has. That there are none is no mistake by itself: see firstKey.
func (n *Node) openSecrets(context.Context) error {
	k := &secretKeys{dir: filepath.Join(n.config.DataDir, memberDir)}
	text, err := membership.SecretKeys(k.dir)
	if err != nil {
		return err
	}
	if text != nil {
		ring, err := secrets.Parse(text)
		if err != nil {
			return fmt.Errorf("the keys of secrets in %s: %w; copy the file from another node, or from a backup of it",
				k.dir, err)
		}
		k.Use(ring)
	}
	n.secrets = k
	return nil
}

// save keeps keys, durably, and uses them from then on. The caller holds changing.
func (k *secretKeys) save(ring secrets.Ring) error {
	if text := ring.Marshal(); !bytes.Equal(text, k.Ring().Marshal()) {
		if err := membership.SaveSecretKeys(k.dir, text); err != nil {
			return err
		}
		k.Use(ring)
	}
	return nil
}

// firstKey makes the key of a zone that this node is to make, and returns its id; "" if there is a zone, or others are
// to make it. Who joins gets the keys with its welcome, and a zone from before there were any by a rotation.
func (n *Node) firstKey() (string, error) {
	if n.network != nil && !n.network.member.Founded || n.config.Levels.Newest < secretsLevel() {
		return "", nil
	}
	made := false
	err := n.machine.View(func(v *persistence.View) error {
		page, err := v.List(resources.Query{Kind: resources.KindZone, Limit: 1})
		made = len(page.Items) > 0
		return err
	})
	if err != nil || made {
		return "", err
	}
	k := n.secrets
	k.changing.Lock()
	defer k.changing.Unlock()
	if len(k.Ring().IDs()) == 0 {
		if err := k.save(k.Ring().With()); err != nil {
			return "", err
		}
	}
	return k.Ring().IDs()[0], nil
}

// secretsLevel is the level from which on secrets are sealed.
func secretsLevel() uint32 {
	for _, f := range persistence.Features() {
		if f.Name == persistence.FeatureSealedSecrets {
			return f.Level
		}
	}
	return persistence.NewestLevel
}

// newSecretKey makes what replaces the key of secrets, in the place of a rotation under way that nobody can go on with,
// if one is given. A node that is alone keeps the key at once: it has nothing to seal it with for others.
func (n *Node) newSecretKey(instead string) (r persistence.Rotation, err error) {
	var good []string
	err = n.machine.View(func(v *persistence.View) error {
		if err := v.Require(persistence.FeatureSealedSecrets); err != nil {
			return err
		}
		good, err = v.SecretKeys()
		return err
	})
	if err != nil {
		return r, err
	}
	r = persistence.Rotation{
		ID: strings.ToLower(rand.Text()[:12]), Secret: persistence.RotationSecretKeys, Instead: instead,
	}
	if len(good) > 0 {
		r.Old = good[0]
	}
	k := n.secrets
	k.changing.Lock()
	defer k.changing.Unlock()
	ring := k.Ring()
	r.Forsaken = n.forsaken(good)
	r.Alone = n.network == nil || r.Forsaken
	fresh := secrets.Ring{}.With()
	r.New = fresh.IDs()[0]
	if w := n.network; w != nil {
		w.changing.Lock()
		defer w.changing.Unlock()
		r.Sealed, err = w.authority.Seal(r.Secret, fresh.Marshal())
		return r, err
	}
	return r, k.save(ring.And(fresh))
}

// alone reports whether there is no other node.
func (n *Node) alone() bool { return len(n.names()) == 1 }

// forsaken reports whether the zone was restored without the keys that its secrets are sealed with: then this node has
// others, and is alone. One whose file was lost has none.
func (n *Node) forsaken(good []string) bool {
	ring := n.secrets.Ring()
	return n.alone() && len(good) > 0 && len(ring.IDs()) > 0 && !slices.ContainsFunc(good, ring.Has)
}

// reachSecretKeys does what a phase of a rotation asks of this node. It may be interrupted and repeated.
func (n *Node) reachSecretKeys(r persistence.Rotation) error {
	k := n.secrets
	k.changing.Lock()
	defer k.changing.Unlock()
	ring := k.Ring()
	if !ring.Has(r.New) {
		fresh, err := n.openSecretKey(r)
		if err != nil {
			return err
		}
		ring = ring.And(fresh)
	}
	if r.Phase.After(persistence.RotationAdding) {
		ring = ring.First(r.New)
	}
	if r.Phase.After(persistence.RotationUsing) {
		ring = ring.Only()
	}
	return k.save(ring)
}

// openSecretKey opens the new key of a rotation.
func (n *Node) openSecretKey(r persistence.Rotation) (secrets.Ring, error) {
	w := n.network
	if w == nil {
		return secrets.Ring{}, errors.New("the new key of secrets is not here, and there is nobody to ask")
	}
	w.changing.Lock()
	defer w.changing.Unlock()
	text, err := w.authority.Open(r.Secret, r.Sealed)
	if err != nil {
		return secrets.Ring{}, err
	}
	return secrets.Parse(text)
}

// keepSealed sees to it, on the node that leads, that there is a key to seal secrets with, and that none lie in clear:
// in a zone from before there were keys, in one that was restored without them, and when a driver calls secret what it
// did not before. R is the last rotation; it may be one that nobody can go on with.
func (n *Node) keepSealed(ctx context.Context, r persistence.Rotation) error {
	if n.machine.Level() < secretsLevel() || !n.cluster.Status().Leading {
		return nil
	}
	var good []string
	err := n.machine.View(func(v *persistence.View) (err error) {
		good, err = v.SecretKeys()
		return err
	})
	if err != nil {
		return err
	}
	stuck := ""
	if r.Under() {
		stuck = r.ID
	}
	if len(good) == 0 || n.forsaken(good) || stuck != "" && r.Secret == persistence.RotationSecretKeys {
		return n.beginSecretKey(ctx, stuck)
	}
	if !slices.ContainsFunc(good, n.secrets.Ring().Has) {
		return fmt.Errorf("the keys that secrets are sealed with are not in %s: copy the file secrets.keys from another "+
			"node, and start this one again", n.secrets.dir)
	}
	changes := n.machine.Changes(resources.KindDriver)
	if n.secrets.sealedAt == changes+1 {
		return nil
	}
	if err := n.sealNew(ctx); err != nil {
		return err
	}
	n.secrets.sealedAt = changes + 1
	return nil
}

// beginSecretKey begins a rotation by itself.
func (n *Node) beginSecretKey(ctx context.Context, instead string) error {
	next, err := n.newSecretKey(instead)
	if err != nil {
		return err
	}
	return n.proposeRotate(ctx, &persistence.Rotate{
		Begin: &next, Origin: resources.Origin{Principal: "node/" + n.config.Name, Source: "local"},
	})
}

// giveUpOldKey has nothing be sealed with the old key any more, at the end of the phase in which all use the new one.
func (n *Node) giveUpOldKey(ctx context.Context, r persistence.Rotation) error {
	if r.Secret != persistence.RotationSecretKeys || r.Phase != persistence.RotationUsing {
		return nil
	}
	if err := n.reseal(ctx, resources.Configurable(), r.Forsaken && n.alone()); err != nil {
		return err
	}
	return n.sealedOtherwise(r.New)
}
