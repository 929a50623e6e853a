package powercut

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// sector is what a disk writes whole or not at all, in bytes.
const sector = 512

// device is a disk with a write cache. Its image holds what is sure to be there when the power is cut.
type device struct {
	image *os.File
	size  int64
	delay time.Duration // of a flush

	mu     sync.Mutex
	cached []write // what was written since the last flush, in order
}

type write struct {
	offset int64
	data   []byte
}

func (w write) end() int64 { return w.offset + int64(len(w.data)) }

// read reads what was written last, be it flushed or not.
func (d *device) read(b []byte, offset int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.image.ReadAt(b, offset); err != nil {
		return fmt.Errorf("reading %d bytes at %d: %w", len(b), offset, err)
	}
	for _, w := range d.cached {
		begin, end := max(w.offset, offset), min(w.end(), offset+int64(len(b)))
		if begin < end {
			copy(b[begin-offset:end-offset], w.data[begin-w.offset:])
		}
	}
	return nil
}

// write takes data into the cache.
func (d *device) write(data []byte, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cached = append(d.cached, write{offset: offset, data: data})
}

// flush makes sure of everything that was written.
func (d *device) flush() error {
	time.Sleep(d.delay)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.cached {
		if _, err := d.image.WriteAt(w.data, w.offset); err != nil {
			return fmt.Errorf("writing %d bytes at %d: %w", len(w.data), w.offset, err)
		}
	}
	d.cached = nil
	return nil
}

// cut is the end of the power. Each write in the cache is kept whole with a probability of share; of the others half
// are lost, and half are torn between sectors. Nothing may be asked of the device after.
func (d *device) cut(share float64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.cached {
		whole := rand.Float64() < share
		if !whole && (share == 0 || rand.IntN(2) == 0) {
			continue
		}
		for len(w.data) > 0 {
			n := min(sector-int(w.offset%sector), len(w.data))
			if whole || rand.IntN(2) == 0 {
				if _, err := d.image.WriteAt(w.data[:n], w.offset); err != nil {
					return fmt.Errorf("writing a sector at %d: %w", w.offset, err)
				}
			}
			w = write{offset: w.offset + int64(n), data: w.data[n:]}
		}
	}
	d.cached = nil
	return nil
}
