package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	cgroupRoot    = "/sys/fs/cgroup"
	groupPrefix   = "bulkhead-chaos-"
	groupVariable = "BULKHEAD_LAB_GROUP"
)

// groups are the control groups of a run, one in each hierarchy where one can be made: what nodes make of their own is
// in them, and goes with them.
type groups struct {
	name string
	dirs []string
}

// hierarchies lists where this process is in each hierarchy that nodes make groups in.
func hierarchies() []string {
	file, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	defer file.Close()
	var dirs []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[1] == "" {
			dirs = append(dirs, filepath.Join(cgroupRoot, parts[2]), filepath.Join(cgroupRoot, "unified", parts[2]))
		}
		if slices.Contains([]string{"blkio", "memory", "pids"}, parts[1]) {
			dirs = append(dirs, filepath.Join(cgroupRoot, parts[1], parts[2]))
		}
	}
	return slices.DeleteFunc(dirs, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "cgroup.procs"))
		return err != nil
	})
}

// newGroups says what the groups are called. Those of runs that were killed are removed.
func newGroups() *groups {
	g := &groups{name: fmt.Sprintf("%s%d", groupPrefix, os.Getpid())}
	for _, dir := range hierarchies() {
		old, _ := filepath.Glob(filepath.Join(dir, groupPrefix+"*")) // the pattern is right
		for _, o := range old {
			maker := strings.TrimPrefix(filepath.Base(o), groupPrefix)
			if _, err := os.Stat(filepath.Join("/proc", maker)); errors.Is(err, fs.ErrNotExist) {
				_ = removeGroup(o) // what can't be removed does no harm
			}
		}
		g.dirs = append(g.dirs, filepath.Join(dir, g.name))
	}
	return g
}

func (g *groups) remove() error {
	var errs []error
	for _, dir := range g.dirs {
		errs = append(errs, removeGroup(dir))
	}
	return errors.Join(errs...)
}

// removeGroup removes a group and those in it, if nobody is in them.
func removeGroup(dir string) error {
	inner, _ := filepath.Glob(filepath.Join(dir, "*/")) // the pattern is right
	var errs []error
	for _, path := range inner {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			errs = append(errs, removeGroup(path))
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("removing a control group: %w", err))
	}
	return errors.Join(errs...)
}

// joinGroups makes the groups, as far as it can, and has this process be in them.
func joinGroups() error {
	name := os.Getenv(groupVariable)
	if name == "" {
		return nil
	}
	for _, dir := range hierarchies() {
		dir = filepath.Join(dir, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue // what is missing shows where it is needed
		}
		if err := enterGroup(dir, 0); err != nil {
			return err
		}
	}
	return nil
}

// enterGroup has a process be in a group; 0 is this one.
func enterGroup(dir string, pid int) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
		return fmt.Errorf("entering a control group: %w", err)
	}
	return nil
}
