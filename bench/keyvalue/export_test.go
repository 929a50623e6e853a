package keyvalue

import "time"

// What tests look into.
var (
	EncodePut   = encodePut
	DecodePut   = decodePut
	OpenMachine = openMachine
)

// Get returns the value of a key, and the index of the entry that put it there.
func (m *machine) Get(key string) (value []byte, index uint64, err error) { return m.get(key) }

// Close closes the store.
func (m *machine) Close() error { return m.store.Close() }

// KillAllBut ends the processes of all nodes but one, which it asks for operations then.
func (t *Trio) KillAllBut(left int, duration time.Duration) ([]time.Duration, error) {
	for i, n := range t.nodes {
		if i != left {
			_ = n.cmd.Process.Kill()
			_ = n.cmd.Wait()
		}
	}
	t.nodes = t.nodes[left : left+1]
	r, err := t.nodes[0].put(question{Callers: 1, Duration: duration})
	return r.Took, err
}
