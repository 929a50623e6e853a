package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a group; 0 = none.
type Limits struct {
	MemoryBytes uint64
	Processes   uint64
}

// Group is a set of processes. It stays until Remove, also over restarts of this process.
type Group struct {
	tree *Tree
	name string
}

// Find names a group without making or changing it.
func (t *Tree) Find(name string) *Group {
	return &Group{tree: t, name: name}
}

// Group finds or makes the group of this name, which must be a file name, and sets its limits.
func (t *Tree) Group(name string, limits Limits) (*Group, error) {
	g := t.Find(name)
	for _, dir := range g.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("making cgroup: %w", err)
		}
	}
	if err := g.limit(limits); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Group) limit(limits Limits) error {
	type setting struct {
		dir, file string
		value     uint64
	}
	settings := []setting{
		{g.tree.memory, "memory.limit_in_bytes", limits.MemoryBytes}, {g.tree.pids, "pids.max", limits.Processes},
	}
	if g.tree.memory == "" && g.tree.Able(Memory) {
		settings = append(settings, setting{g.tree.unified, "memory.max", limits.MemoryBytes})
	}
	if g.tree.pids == "" && g.tree.Able(Processes) {
		settings = append(settings, setting{g.tree.unified, "pids.max", limits.Processes})
	}
	for _, s := range settings {
		if s.dir == "" {
			continue
		}
		value := "max"
		if s.value > 0 {
			value = strconv.FormatUint(s.value, 10)
		} else if s.file == "memory.limit_in_bytes" {
			value = "-1"
		}
		if err := os.WriteFile(filepath.Join(s.dir, g.name, s.file), []byte(value), 0o644); err != nil {
			return fmt.Errorf("limiting cgroup %s: %w", g.name, err)
		}
	}
	return nil
}

func (g *Group) dirs() []string {
	var dirs []string
	for _, dir := range []string{g.tree.unified, g.tree.memory, g.tree.pids} {
		if dir != "" {
			dirs = append(dirs, filepath.Join(dir, g.name))
		}
	}
	return dirs
}

// Add moves a process into the group.
func (g *Group) Add(pid int) error {
	for _, dir := range g.dirs() {
		err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
		if err != nil {
			return fmt.Errorf("putting process %d into cgroup %s: %w", pid, g.name, err)
		}
	}
	return nil
}

// Processes lists who is in the group, as far as any hierarchy tells.
func (g *Group) Processes() ([]int, error) {
	var found []int
	for _, dir := range g.dirs() {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing cgroup %s: %w", g.name, err)
		}
		for field := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(field)
			if err == nil && pid > 0 && !slices.Contains(found, pid) {
				found = append(found, pid)
			}
		}
	}
	return found, nil
}

// Kill ends every process in the group and waits until they are gone or ctx ends. An empty or missing group is no
// error.
func (g *Group) Kill(ctx context.Context) error {
	for {
		left, err := g.Processes()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		g.killOnce(left)
		select {
		case <-ctx.Done():
			return fmt.Errorf("killing cgroup %s with %d processes left: %w", g.name, len(left), ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// killOnce uses cgroup.kill, which no fork can outrun, and signals for processes in v1 hierarchies only.
func (g *Group) killOnce(pids []int) {
	if g.tree.unified != "" {
		path := filepath.Join(g.tree.unified, g.name, "cgroup.kill")
		if os.WriteFile(path, []byte("1"), 0o644) == nil {
			return
		}
	}
	for _, pid := range pids {
		g.killOne(pid)
	}
}

// killOne kills a process only if it is still in the group once nothing can change what its number means.
func (g *Group) killOne(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	now, err := g.Processes()
	if err == nil && slices.Contains(now, pid) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // gone is as good
	}
}

// OutOfMemory counts the processes the kernel killed because the group was out of memory.
func (g *Group) OutOfMemory() int {
	count := 0
	if g.tree.memory != "" {
		count += readCounter(filepath.Join(g.tree.memory, g.name, "memory.oom_control"), "oom_kill")
	}
	if g.tree.unified != "" {
		count += readCounter(filepath.Join(g.tree.unified, g.name, "memory.events"), "oom_kill")
	}
	return count
}

func readCounter(path, name string) int {
	count := 0
	eachLine(path, func(line string) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == name {
			count, _ = strconv.Atoi(fields[1])
		}
	})
	return count
}

// Remove deletes the group, which must be empty. A missing one is no error.
func (g *Group) Remove() error {
	var failed error
	for _, dir := range g.dirs() {
		failed = errors.Join(failed, remove(dir))
	}
	return failed
}
