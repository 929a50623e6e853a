package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// keysSuffix names the file of keys beside the one that they seal secrets of. Who copies the one has nothing of the
// other.
const keysSuffix = ".keys"

// ownKeys reads the keys of a directory, and makes them where there are none.
func ownKeys(path string) (secrets.Ring, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		ring, err := secrets.Parse(text)
		if err != nil {
			return ring, fmt.Errorf("%s: %w; remove it and what it is beside, and nodes say that again", path, err)
		}
		return ring, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return secrets.Ring{}, fmt.Errorf("reading keys: %w", err)
	}
	ring := secrets.Ring{}.With()
	if err := durable.ReplaceFile(path, ring.Marshal()); err != nil {
		return secrets.Ring{}, fmt.Errorf("keeping keys: %w", err)
	}
	return ring, nil
}

// sealSecrets is a brief as it may lie on a disk.
func (b *briefing) sealSecrets(brief *agentpb.Brief) (*agentpb.Brief, error) {
	kept, ok := proto.Clone(brief).(*agentpb.Brief)
	if !ok {
		return nil, errors.New("copying a brief made something else")
	}
	for _, d := range kept.GetDrivers() {
		r, err := record(d)
		if err != nil {
			return nil, err
		}
		if len(r.Spec.Secrets) == 0 {
			continue
		}
		if d.Sealed, err = b.keys.Seal(ownerOf(d), r.Spec.Secrets, ""); err != nil {
			return nil, err
		}
		d.Secrets = nil // an older agent has none then, until a node says them
		if d.Properties, err = structpb.NewStruct(r.Spec.Properties); err != nil {
			return nil, fmt.Errorf("writing properties of driver %s down: %w", d.GetProduct(), err)
		}
	}
	return kept, nil
}

// openSecrets takes a brief as it lay on a disk. One that an older agent kept is not sealed.
func (b *briefing) openSecrets(kept *agentpb.Brief) error {
	for _, d := range kept.GetDrivers() {
		for key, sealed := range d.GetSealed() {
			value, err := b.keys.Open(ownerOf(d), key, sealed)
			if err != nil {
				return err
			}
			if d.Secrets == nil {
				d.Secrets = map[string]string{}
			}
			d.Secrets[key] = value
		}
		d.Sealed = nil
	}
	return nil
}

func ownerOf(d *agentpb.Driver) resources.Ref {
	return resources.Ref{Kind: resources.KindDriver, ID: d.GetProduct()}
}
