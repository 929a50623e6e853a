package driving

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
)

// Overlap implements relay.Drivers.
func (d *Drivers) Overlap(_ context.Context, a, b relay.Place) (found string, err error) {
	theirs := d.placesOf(b)
	for key, places := range d.placesOf(a) {
		for _, mine := range places {
			for _, others := range theirs {
				if slices.ContainsFunc(others, mine.overlaps) && (found == "" || key < found) {
					found = key
				}
			}
		}
	}
	return found, nil
}

// placesOf finds the directories that properties give a driver to write to.
func (d *Drivers) placesOf(p relay.Place) map[string][]place {
	places := map[string][]place{}
	for _, one := range d.naming(p.Product) {
		paths, ok := p.Properties[one.Key].(string)
		if !ok || paths == "" || one.PathAccess != property.AccessReadWrite {
			continue
		}
		for path := range strings.SplitSeq(paths, ":") {
			places[one.Key] = append(places[one.Key], locate(path))
		}
	}
	return places
}

// place is where a path leads.
type place struct {
	// real is the path without symbolic links.
	real string
	// line are the directories from the place, if it exists, up to the root, as the
	// file system knows them: the same directory is found under each of its names,
	// also where it is mounted a second time.
	line   []inode
	exists bool
}

type inode struct{ device, number uint64 }

func (p place) overlaps(o place) bool {
	return p.within(o) || o.within(p)
}

// within reports whether p is o or inside of it.
func (p place) within(o place) bool {
	if p.real == o.real || strings.HasPrefix(p.real, strings.TrimSuffix(o.real, "/")+"/") {
		return true
	}
	return o.exists && slices.Contains(p.line, o.line[0])
}

// locate follows a path as far as it exists.
func locate(path string) place {
	path = filepath.Clean(path)
	existing, rest := path, ""
	for {
		real, err := filepath.EvalSymlinks(existing)
		if err == nil {
			p := place{real: filepath.Join(real, rest), line: lineage(real)}
			p.exists = rest == "" && len(p.line) > 0
			return p
		}
		if !errors.Is(err, fs.ErrNotExist) || existing == filepath.Dir(existing) {
			return place{real: path}
		}
		rest = filepath.Join(filepath.Base(existing), rest)
		existing = filepath.Dir(existing)
	}
}

// lineage lists a directory and those above it, as far as they can be told.
func lineage(dir string) []inode {
	var line []inode
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return line
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			line = append(line, inode{device: s.Dev, number: s.Ino})
		}
		if dir == filepath.Dir(dir) {
			return line
		}
		dir = filepath.Dir(dir)
	}
}
