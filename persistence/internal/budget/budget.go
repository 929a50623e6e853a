package budget

import (
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// Budget counts what one update writes. A key written twice counts once, with its last value.
type Budget struct {
	bytes  int
	failed error
}

// Size is what a write of value to key counts for, a removal as one of nothing.
func Size(key, value []byte) int { return len(key) + len(value) }

// Put accounts for a write of value to key, or refuses it. Before is the Size of what the update had written to that
// key so far; 0 if nothing.
func (b *Budget) Put(key, value []byte, before int) error {
	if len(value) > persistence.MaxValueBytes {
		return b.refuse(fmt.Errorf("writing %.64q: a value of %d bytes: %w", key, len(value), persistence.ErrValueTooLarge))
	}
	return b.account(key, Size(key, value)-before)
}

// Delete is Put for the removal of key.
func (b *Budget) Delete(key []byte, before int) error { return b.account(key, Size(key, nil)-before) }

// Err returns what was refused so far: an update must not succeed with a part of its writes, even if the function that
// made them ignored the error.
func (b *Budget) Err() error { return b.failed }

func (b *Budget) account(key []byte, more int) error {
	if len(key) == 0 || len(key) > persistence.MaxKeyBytes {
		return b.refuse(fmt.Errorf("writing a key of %d bytes: %w", len(key), persistence.ErrInvalidKey))
	}
	if b.bytes += more; b.bytes > persistence.MaxBatchBytes {
		return b.refuse(fmt.Errorf("writing %d bytes in one update, the most is %d: %w",
			b.bytes, persistence.MaxBatchBytes, persistence.ErrBatchTooLarge))
	}
	return nil
}

func (b *Budget) refuse(err error) error {
	if b.failed == nil {
		b.failed = err
	}
	return err
}
