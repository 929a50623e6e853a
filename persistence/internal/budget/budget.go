package budget

import (
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// Budget counts what one update writes. A key written twice counts once, with its last value.
type Budget struct {
	sizes  map[string]int
	bytes  int
	failed error
}

// Put accounts for a write of value to key, or refuses it.
func (b *Budget) Put(key, value []byte) error {
	if len(value) > persistence.MaxValueBytes {
		return b.refuse(fmt.Errorf("writing %.64q: a value of %d bytes: %w", key, len(value), persistence.ErrValueTooLarge))
	}
	return b.account(key, len(value))
}

// Delete accounts for the removal of key, or refuses it.
func (b *Budget) Delete(key []byte) error { return b.account(key, 0) }

// Err returns what was refused so far: an update must not succeed with a part of its writes, even if the function that
// made them ignored the error.
func (b *Budget) Err() error { return b.failed }

func (b *Budget) account(key []byte, value int) error {
	if len(key) == 0 || len(key) > persistence.MaxKeyBytes {
		return b.refuse(fmt.Errorf("writing a key of %d bytes: %w", len(key), persistence.ErrInvalidKey))
	}
	size := len(key) + value
	total := b.bytes - b.sizes[string(key)] + size
	if total > persistence.MaxBatchBytes {
		return b.refuse(fmt.Errorf("writing %d bytes in one update, the most is %d: %w",
			total, persistence.MaxBatchBytes, persistence.ErrBatchTooLarge))
	}
	if b.sizes == nil {
		b.sizes = map[string]int{}
	}
	b.bytes, b.sizes[string(key)] = total, size
	return nil
}

func (b *Budget) refuse(err error) error {
	if b.failed == nil {
		b.failed = err
	}
	return err
}
