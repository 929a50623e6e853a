package keyvalue

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// valueBytes is as large as what Bulkhead writes for a step.
const valueBytes = 300

// operate has callers do operations until the time is over, and returns how long each operation took.
func operate(
	ctx context.Context, n *cluster.Node, m *machine, callers int, duration time.Duration,
) ([]time.Duration, error) {
	var (
		mu    sync.Mutex
		all   []time.Duration
		first error
		wg    sync.WaitGroup
	)
	end := time.Now().Add(duration)
	for range callers {
		wg.Go(func() {
			took, err := operateUntil(ctx, n, m, end)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return all, first
}

func operateUntil(ctx context.Context, n *cluster.Node, m *machine, end time.Time) (took []time.Duration, err error) {
	for time.Now().Before(end) {
		start := time.Now()
		key, value, index, err := operation(ctx, n)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
		if err := m.has(key, value, index); err != nil {
			return nil, err
		}
	}
	return took, nil
}

// operation is four dependent puts: what is wanted and that somebody is on it, and how both ended. It returns what the
// last of them put, and the index of its entry.
func operation(ctx context.Context, n *cluster.Node) (key string, value []byte, index uint64, err error) {
	id := draw(16)
	value = []byte(draw(valueBytes / 2))
	for _, key = range []string{"/volumes/" + id, "/operations/" + id, "/volumes/" + id, "/operations/" + id} {
		result, err := n.Propose(ctx, encodePut(key, value))
		if err != nil {
			return "", nil, 0, fmt.Errorf("putting %s: %w", key, err)
		}
		at, ok := result.(uint64)
		if !ok || at <= index {
			return "", nil, 0, fmt.Errorf("putting %s: the answer is %v, after %d", key, result, index)
		}
		index = at
	}
	return key, value, index, nil
}

// has says what is wrong if the state has not what was put.
func (m *machine) has(key string, value []byte, index uint64) error {
	got, at, err := m.get(key)
	if err == nil && (at != index || !bytes.Equal(got, value)) {
		err = fmt.Errorf("it has %.20q of entry %d, and %.20q was put by entry %d", got, at, value, index)
	}
	if err != nil {
		return fmt.Errorf("looking for %s: %w", key, err)
	}
	return nil
}

// draw returns n random bytes as hexadecimal text.
func draw(n int) string {
	raw := make([]byte, n)
	rand.Read(raw) // never fails (crypto/rand)
	return hex.EncodeToString(raw)
}
