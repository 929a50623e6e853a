package persistence

import (
	"bytes"
	"fmt"
	"slices"
)

// decodedOwners is the shard table as it was last read. Every write by an owner
// is checked against the table, which hardly ever changes and is long to decode.
type decodedOwners struct {
	data   []byte
	owners []Owner
}

// Owners returns the shard table; empty before the first placement.
func (v *View) Owners() ([]Owner, error) {
	owners, err := v.owners()
	return slices.Clone(owners), err
}

// owners is Owners without a copy: it must not be changed. What it returns
// depends on the state alone; only the time it takes depends on what was read
// before.
func (v *View) owners() ([]Owner, error) {
	data, ok, err := v.r.Get([]byte(familyPlacement))
	if err != nil {
		return nil, fmt.Errorf("reading the shard table: %w", err)
	}
	if !ok {
		return nil, nil
	}
	if last := v.codec.owners.Load(); last != nil && bytes.Equal(last.data, data) {
		return last.owners, nil
	}
	var owners []Owner
	if err := v.codec.unmarshal("the shard table", data, &owners); err != nil {
		return nil, err
	}
	v.codec.owners.Store(&decodedOwners{data: bytes.Clone(data), owners: owners})
	return owners, nil
}
