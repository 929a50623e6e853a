package keyvalue

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
