package fence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Config of a Fence.
type Config struct {
	// Path is its file, which is made when it is missing; its directory must be there.
	Path string
	// Scope says who counts the epochs: the id of the cluster. What was remembered for another one is forgotten.
	Scope string
	// Shards is how many there are, at least 1, and ShardOf tells which one a resource belongs to, below Shards.
	Shards  int
	ShardOf func(kind, id string) int
}

// Fence is safe for concurrent use.
type Fence struct {
	config Config
	marks  []mark

	mu      sync.Mutex
	file    *os.File // nil after a failure: then all is written anew
	records int      // in the file
	writing chan struct{}
	closed  bool
}

// mark is what is known of a shard. What was seen refuses; what is kept lets pass.
type mark struct{ seen, kept atomic.Uint64 }

// Open reads what was remembered, or begins anew. Skipped counts records that could not be read: those of a write that
// a loss of power interrupted, whose calls never went on. Errors: ErrDamaged if it cannot be told whose file it is.
func Open(config Config) (f *Fence, skipped int, err error) {
	if config.Shards < 1 || config.ShardOf == nil {
		return nil, 0, fmt.Errorf("opening the fence: %d shards", config.Shards)
	}
	f = &Fence{config: config, marks: make([]mark, config.Shards)}
	data, err := os.ReadFile(config.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("opening the fence: %w", err)
	}
	if err == nil {
		if skipped, err = f.load(data); err != nil {
			return nil, 0, fmt.Errorf("opening the fence %s: %w", config.Path, err)
		}
	}
	// Written anew, it has neither torn records nor another's epochs.
	if err := f.rewrite(f.unkept(true)); err != nil {
		return nil, 0, fmt.Errorf("opening the fence: %w", err)
	}
	return f, skipped, nil
}

// load takes over what a file says.
func (f *Fence) load(data []byte) (skipped int, err error) {
	head, entries, skipped, err := decode(data)
	if err != nil || head.scope != f.config.Scope {
		return 0, err
	}
	// All epochs of a scope are counted by one counter: where the shards were others, all that are given now are above
	// all that were then.
	floor := uint64(0)
	for _, e := range entries {
		if head.shards != uint32(f.config.Shards) {
			floor = max(floor, e.epoch)
		} else if e.shard < head.shards {
			raise(&f.marks[e.shard].seen, e.epoch)
		}
	}
	for i := range f.marks {
		raise(&f.marks[i].seen, floor)
	}
	return skipped, nil
}

// raise makes a number at least epoch, and returns the higher one of both before.
func raise(number *atomic.Uint64, epoch uint64) (highest uint64) {
	for {
		now := number.Load()
		if now >= epoch {
			return now
		}
		if number.CompareAndSwap(now, epoch) {
			return epoch
		}
	}
}

// Admit lets a call pass, or refuses it with FENCED "stale-epoch" if its resource's shard was called with a higher
// epoch. The first call with a new epoch waits until that is durable; if it cannot be made so, or ctx ends before, the
// call is refused with TRANSIENT "fence-unavailable", and may be repeated.
func (f *Fence) Admit(ctx context.Context, kind, id string, epoch uint64) error {
	m := &f.marks[f.config.ShardOf(kind, id)]
	if highest := raise(&m.seen, epoch); highest > epoch {
		return sdk.StaleEpoch(kind, id, epoch, highest)
	}
	if m.kept.Load() >= epoch {
		return nil
	}
	if err := f.keep(ctx, m, epoch); err != nil {
		return fmt.Errorf("%w: %w", sdk.Transient("fence-unavailable",
			"the host cannot remember who may call: "+err.Error()), err)
	}
	return nil
}

// keep returns when an epoch is durable. One caller writes what all wait for.
func (f *Fence) keep(ctx context.Context, m *mark, epoch uint64) error {
	f.mu.Lock()
	for m.kept.Load() < epoch {
		if f.closed {
			f.mu.Unlock()
			return os.ErrClosed
		}
		if turn := f.writing; turn != nil {
			f.mu.Unlock()
			select {
			case <-turn:
			case <-ctx.Done():
				return ctx.Err()
			}
			f.mu.Lock()
			continue
		}
		turn := make(chan struct{})
		f.writing = turn
		f.mu.Unlock()
		err := f.write()
		f.mu.Lock()
		f.writing = nil
		close(turn)
		if err != nil {
			f.mu.Unlock()
			return err
		}
	}
	f.mu.Unlock()
	return nil
}

// unkept lists what was seen and is not in the file, or all that was seen.
func (f *Fence) unkept(all bool) (entries []entry) {
	for i := range f.marks {
		seen := f.marks[i].seen.Load()
		if seen > 0 && (all || seen > f.marks[i].kept.Load()) {
			entries = append(entries, entry{shard: uint32(i), epoch: seen})
		}
	}
	return entries
}

// write makes all that was seen durable. Its caller has the turn.
func (f *Fence) write() error {
	fresh := f.unkept(false)
	// A file that grew to twice its least size, and one whose end is not known, are written anew.
	if f.file == nil || f.records+len(fresh) > 2*len(f.marks)+len(fresh) {
		return f.rewrite(f.unkept(true))
	}
	data := make([]byte, 0, len(fresh)*entryBytes)
	for _, e := range fresh {
		data = e.append(data)
	}
	_, err := f.file.Write(data)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		_ = f.file.Close()
		f.file = nil
		return fmt.Errorf("writing epochs: %w", err)
	}
	f.records += len(fresh)
	f.note(fresh)
	return nil
}

// rewrite replaces the file by one with entries alone.
func (f *Fence) rewrite(entries []entry) error {
	data, err := header{scope: f.config.Scope, shards: uint32(f.config.Shards)}.encode()
	if err != nil {
		return err
	}
	for _, e := range entries {
		data = e.append(data)
	}
	file, err := replace(f.config.Path, data)
	if err != nil {
		return fmt.Errorf("writing epochs anew: %w", err)
	}
	if f.file != nil {
		_ = f.file.Close()
	}
	f.file, f.records = file, len(entries)
	f.note(entries)
	return nil
}

func (f *Fence) note(entries []entry) {
	for _, e := range entries {
		raise(&f.marks[e.shard].kept, e.epoch)
	}
}

// Close lets go of the file. Calls with epochs that are not in it are refused from then on.
func (f *Fence) Close() error {
	for {
		f.mu.Lock()
		turn := f.writing
		if turn == nil {
			break
		}
		f.mu.Unlock()
		<-turn
	}
	defer f.mu.Unlock()
	f.closed = true
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	if err != nil {
		return fmt.Errorf("closing the fence: %w", err)
	}
	return nil
}
