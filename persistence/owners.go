package persistence

import "fmt"

// Owners returns the shard table; empty before the first placement.
func (v *View) Owners() ([]Owner, error) {
	data, ok, err := v.r.Get([]byte(familyPlacement))
	if err != nil {
		return nil, fmt.Errorf("reading the shard table: %w", err)
	}
	if !ok {
		return nil, nil
	}
	var owners []Owner
	return owners, v.codec.unmarshal("the shard table", data, &owners)
}
