package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// bootstrap makes the zone, its first token and the drivers that ship with the
// program, as far as they are not there.
func (n *Node) bootstrap(ctx context.Context) error {
	vocabulary := resources.NewVocabulary()
	now := time.Now()
	list := []resources.Resource{&resources.Zone{
		Meta:   resources.Meta{Kind: resources.KindZone, ID: newID(vocabulary, resources.KindZone, now), Name: "zone"},
		Status: resources.ZoneStatus{ClusterID: n.cluster.ClusterID(), Shards: shards},
	}}
	for _, b := range n.config.BuiltIns {
		record, err := builtInRecord(vocabulary, b, n.config.Executable, now)
		if err != nil {
			return err
		}
		list = append(list, record)
	}
	bearer, token, err := n.firstToken(vocabulary, now)
	if err != nil {
		return err
	}
	if token != nil {
		list = append(list, token)
	}
	cmd := &persistence.Bootstrap{Level: n.config.Levels.Newest}
	if cmd.SecretKey, err = n.firstKey(); err != nil {
		return err
	}
	for _, r := range list {
		doc, err := n.machine.Codec().Seal(r)
		if err != nil {
			return err
		}
		cmd.Documents = append(cmd.Documents, doc)
	}
	if err := n.insist(ctx, cmd); err != nil {
		return fmt.Errorf("setting the zone up: %w", err)
	}
	n.token = bearer
	return nil
}

// insist has a command agreed on that may be so twice: that the leader is lost
// meanwhile is no reason not to start.
func (n *Node) insist(ctx context.Context, cmd persistence.Command) error {
	patience, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := n.log.Propose(patience, cmd)
		class := resources.ClassOf(err)
		lost := class == resources.ClassUnknown || class == resources.ClassUnavailable
		if err == nil || !lost || n.network == nil || n.cluster.Status().Err != nil {
			return err
		}
		select {
		case <-patience.Done():
			return err
		case <-time.After(insistEvery):
		}
	}
}

// firstToken makes an administrator's token if there is none at all. Its text is
// kept in a file that only the server's user can read, and nowhere else.
func (n *Node) firstToken(vocabulary resources.Vocabulary, now time.Time) (string, *resources.Token, error) {
	var some bool
	err := n.machine.View(func(v *persistence.View) error {
		page, err := v.List(resources.Query{Kind: resources.KindToken, Limit: 1})
		some = len(page.Items) > 0
		return err
	})
	if err != nil || some {
		return "", nil, err
	}
	secret := door.NewSecret()
	token := &resources.Token{
		Meta:   resources.Meta{Kind: resources.KindToken, ID: newID(vocabulary, resources.KindToken, now), Name: "admin"},
		Spec:   resources.TokenSpec{Role: resources.RoleAdmin},
		Status: resources.TokenStatus{Digest: secret.Digest()},
	}
	bearer := secret.Bearer(token.ID)
	path := filepath.Join(n.config.DataDir, tokenFile)
	if err := writeSecret(path, bearer); err != nil {
		return "", nil, err
	}
	return bearer, token, nil
}

func newID(v resources.Vocabulary, kind resources.Kind, now time.Time) string {
	var entropy [10]byte
	rand.Read(entropy[:]) // never fails (crypto/rand)
	return v.NewID(kind, now, entropy)
}

func builtInRecord(v resources.Vocabulary, b BuiltIn, executable string, now time.Time) (*resources.Driver, error) {
	m := b.Manifest(executable)
	digest, err := m.Digest()
	if err != nil {
		return nil, fmt.Errorf("reading driver %s: %w", b.Name, err)
	}
	return &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, ID: newID(v, resources.KindDriver, now), Name: b.Name},
		Spec: resources.DriverSpec{
			Product: m.Name, Version: m.Version, Categories: categories(m), BuiltIn: true, Enabled: true,
		},
		Status: resources.DriverStatus{Digest: digest},
	}, nil
}
