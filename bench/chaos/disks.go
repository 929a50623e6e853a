package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// disks compares the files of the pool and the guests that run with the state.
func (c *checker) disks() error {
	files, err := c.files()
	if err != nil {
		return err
	}
	for _, kind := range []string{"volume", "snapshot"} {
		for id, phase := range c.phases[kind] {
			if c.isReal(kind, id) && files[id] == 0 {
				c.find(&c.report.Lost, "%s %s is %s and has no file", kind, id, phase)
			}
		}
	}
	for id, n := range files {
		if !c.isReal("volume", id) && !c.isReal("snapshot", id) {
			c.find(&c.report.Orphans, "%s has a file and is not known", id)
		}
		if n > 1 {
			c.find(&c.report.Duplicated, "%s has %d files", id, n)
		}
	}
	return c.compareGuests()
}

func (c *checker) compareGuests() error {
	guests, err := c.guests()
	if err != nil {
		return err
	}
	running := 0
	for id := range c.phases["machine"] {
		if c.isReal("machine", id) {
			running++
		}
	}
	if guests > running {
		c.find(&c.report.Orphans, "%d guests run, %d machines should", guests, running)
	}
	if guests < running {
		c.find(&c.report.Lost, "%d guests run, %d machines should", guests, running)
	}
	return nil
}

// files counts the files of each volume and snapshot in the pools.
func (c *checker) files() (map[string]int, error) {
	found := map[string]int{}
	err := filepath.WalkDir(filepath.Join(c.dir, "pool-0"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		id, _, _ := strings.Cut(e.Name(), ".")
		id, _, _ = strings.Cut(id, "@") // a snapshot is named with its volume
		if strings.HasPrefix(id, "vol-") || strings.HasPrefix(id, "snap-") {
			found[id]++
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the pool: %w", err)
	}
	return found, nil
}

// guests counts the QEMU processes whose files are in the data directory.
func (c *checker) guests() (int, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, fmt.Errorf("reading the processes: %w", err)
	}
	n := 0
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), "qemu-system") && strings.Contains(string(data), c.dir) {
			n++
		}
	}
	return n, nil
}

// leftovers looks for what is still there after everything was deleted.
func (c *checker) leftovers() error {
	files, err := c.files()
	if err != nil {
		return err
	}
	for id := range files {
		c.find(&c.report.Orphans, "%s has a file after everything was deleted", id)
	}
	guests, err := c.guests()
	if guests > 0 {
		c.find(&c.report.Orphans, "%d guests run after everything was deleted", guests)
	}
	return errors.Join(err, c.spacesLeft())
}
