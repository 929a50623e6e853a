package persistence

import (
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// RotationSecretKeys is what a Rotation of the key calls it that secrets of resources are sealed with.
const RotationSecretKeys = "secret-keys"

// CodeKeyReplaced says that something was sealed with a key that was replaced meanwhile: it is to be sealed anew.
const CodeKeyReplaced = "secret-key-replaced"

func secretKeysKey() []byte { return key(familyMeta, "secret-keys") }

// SecretKeys are the ids of the keys that secrets of resources may be sealed with, that of the one to seal with first.
// While there are none, secrets lie in clear: the zone is of a level below, or was lately.
func (v *View) SecretKeys() (ids []string, err error) {
	_, err = v.record(secretKeysKey(), "ids of keys", &ids)
	return ids, err
}

// putSecretKeys says which keys are good from now on.
func (t *tx) putSecretKeys(ids ...string) error {
	return t.putRecord(secretKeysKey(), "ids of keys", ids)
}

// beginSecretKeys is putSecretKeys in a zone that is made; "" = it has no key yet.
func (t *tx) beginSecretKeys(id string) error {
	if id == "" {
		return nil
	}
	return t.putSecretKeys(id)
}

// checkSealed refuses what is sealed with a key that is not good: it would not open when that key is gone.
func (t *tx) checkSealed(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	good, err := t.SecretKeys()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.Contains(good, id) {
			return &resources.Error{
				Class: resources.ClassStale, Code: CodeKeyReplaced, Remedy: "repeat the request",
				Message: "the key that secrets are sealed with was replaced meanwhile",
			}
		}
	}
	return nil
}

// argumentKeys are the ids of the keys that secrets in the arguments of an operation are sealed with.
func argumentKeys(op *resources.Operation) (ids []string) {
	spec := op.Arguments.Spec
	controller, _ := spec["outOfBand"].(map[string]any)
	for _, bag := range []any{spec["properties"], controller["properties"], op.Arguments.Properties} {
		properties, _ := bag.(map[string]any)
		for _, value := range properties {
			if text, sealed := resources.SealedText(value); sealed && text != "" {
				ids = append(ids, resources.SealingKey(text))
			}
		}
	}
	return ids
}

// SealedOtherwise returns one of what is sealed with another key than that of an id, of what is not over: a resource,
// or an operation that has not ended. The zero Ref = there is none.
func (v *View) SealedOtherwise(id string) (found resources.Ref, err error) {
	other := func(key string) bool { return key != id }
	for _, kind := range resources.Configurable() {
		err := v.Each(kind, nil, func(r resources.Resource) bool {
			if slices.ContainsFunc(resources.SealingKeys(r), other) {
				found = r.Metadata().Ref()
			}
			return found == resources.Ref{}
		})
		if err != nil || found != (resources.Ref{}) {
			return found, err
		}
	}
	err = v.r.Scan([]byte(familyQueue), nil, func(_, value []byte) (bool, error) {
		op, err := v.Operation(resources.OperationID(value))
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(argumentKeys(op), other) {
			found = op.Ref()
		}
		return found == resources.Ref{}, nil
	})
	return found, err
}

// LostSecrets calls yield for each resource whose secrets can't be opened without one of some keys, with those secrets
// by JSON pointer, until it answers false.
func (v *View) LostSecrets(have func(id string) bool, yield func(r resources.Resource, pointers []string) bool) error {
	for _, kind := range resources.Configurable() {
		more := true
		err := v.Each(kind, nil, func(r resources.Resource) bool {
			if pointers := resources.Shut(r, have); len(pointers) > 0 {
				more = yield(r, pointers)
			}
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// Reseal replaces how secrets of resources are sealed, or seals those that lie in clear. A resource that has changed
// since it was read, or is gone, is left as it is.
type Reseal struct {
	// Documents are whole resources, with the revisions they were read at.
	Documents []*Document `json:"d"`
}

func (*Reseal) commandName() string { return "reseal" }

func (c *Reseal) apply(t *tx) (Result, error) {
	t.principal = "system"
	for _, d := range c.Documents {
		next, err := t.open(d)
		if err != nil {
			return Result{}, err
		}
		current, err := t.stored(next.Metadata().Ref())
		if resources.ClassOf(err) == resources.ClassNotFound {
			continue
		}
		if err != nil {
			return Result{}, err
		}
		if current.Metadata().Revision != next.Metadata().Revision {
			continue
		}
		if err := t.update(current, next); err != nil {
			return Result{}, fmt.Errorf("sealing secrets of %s: %w", next.Metadata().Ref(), err)
		}
	}
	return Result{}, nil
}
