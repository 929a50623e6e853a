package fence

// Decode reads a file and writes what it found again.
func Decode(data []byte) (scope string, highest map[uint32]uint64, again []byte, err error) {
	h, entries, _, err := decode(data)
	if err != nil {
		return "", nil, nil, err
	}
	again, err = h.encode()
	highest = map[uint32]uint64{}
	for _, e := range entries {
		highest[e.shard] = max(highest[e.shard], e.epoch)
		again = e.append(again)
	}
	return h.scope, highest, again, err
}

// Break ends the file, as a failed write does.
func (f *Fence) Break() error {
	err := f.file.Close()
	return err
}
