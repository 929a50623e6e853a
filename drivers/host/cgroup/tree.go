package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Missing is something the groups of a tree can't do, why, and the remedy.
type Missing struct {
	Mechanism, Reason, Remedy string
}

// What groups can do, in Missing and Able.
const (
	Kill      = "cgroup-kill"
	Memory    = "cgroup-memory"
	Processes = "cgroup-pids"
)

// Places are the directories of a tree, "" where a hierarchy is missing or closed to us.
type Places struct {
	// Unified is in cgroup v2, Memory and Processes are in the hierarchies of v1.
	Unified   string `json:"unified"`
	Memory    string `json:"memory"`
	Processes string `json:"processes"`
}

// Tree is where groups are made: one directory in each hierarchy that helps.
type Tree struct {
	unified, memory, pids string
	missing               []Missing
}

// Open finds or makes the tree of this name. Each directory is where it was before, if that is still there, else below
// the cgroup of this process, which need not be the one of the server before. It never fails: what is missing is
// reported.
func Open(name string, before Places) *Tree {
	tree := &Tree{unified: before.Unified, memory: before.Memory, pids: before.Processes}
	mounts, own := readMounts(), readOwn()
	if mount, ok := mounts["cgroup2"]; ok && !exists(tree.unified) {
		tree.unified = tree.makeUnified(mount, own[""], name)
	}
	if !exists(tree.memory) {
		tree.memory = tree.makeLegacy(mounts["memory"], own["memory"], name)
	}
	if !exists(tree.pids) {
		tree.pids = tree.makeLegacy(mounts["pids"], own["pids"], name)
	}
	tree.judge()
	return tree
}

// Places says where the tree is, for the next Open.
func (t *Tree) Places() Places {
	return Places{Unified: t.unified, Memory: t.memory, Processes: t.pids}
}

// Missing lists what groups of this tree can't do.
func (t *Tree) Missing() []Missing { return slices.Clone(t.missing) }

// Able tells whether groups can do one of Kill, Memory and Processes.
func (t *Tree) Able(mechanism string) bool {
	return !slices.ContainsFunc(t.missing, func(m Missing) bool { return m.Mechanism == mechanism })
}

// Remove deletes the tree; groups with processes in them stay.
func (t *Tree) Remove() error {
	var failed error
	for _, dir := range []string{t.unified, t.memory, t.pids} {
		if dir == "" {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("removing cgroups: %w", err))
		}
		for _, entry := range entries {
			if entry.IsDir() {
				failed = errors.Join(failed, remove(filepath.Join(dir, entry.Name())))
			}
		}
		failed = errors.Join(failed, remove(dir))
	}
	return failed
}

func remove(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing cgroup: %w", err)
	}
	return nil
}

func (t *Tree) judge() {
	remedy := "run the server as root, or in a unit with Delegate=yes and DelegateSubgroup=server"
	if t.unified == "" || !exists(filepath.Join(t.unified, "cgroup.kill")) {
		t.missing = append(t.missing, Missing{
			Kill, "no writable cgroup v2 with cgroup.kill; processes are found and killed one by one", remedy,
		})
	}
	if t.memory == "" && !exists(filepath.Join(t.unified, "memory.max")) {
		t.missing = append(t.missing, Missing{
			Memory, "no writable cgroup with the memory controller; only private memory is limited, by rlimit", remedy,
		})
	}
	if t.pids == "" && !exists(filepath.Join(t.unified, "pids.max")) {
		t.missing = append(t.missing, Missing{
			Processes, "no writable cgroup with the pids controller; processes are limited per user, if drivers have their own",
			remedy,
		})
	}
}

// makeLegacy makes the directory in a v1 hierarchy, below our own group so that its limits hold for us too.
func (t *Tree) makeLegacy(mount, own, name string) string {
	if mount == "" {
		return ""
	}
	dir := filepath.Join(mount, own, name)
	if os.MkdirAll(dir, 0o755) != nil || unix.Access(dir, unix.W_OK) != nil {
		return ""
	}
	return dir
}

// makeUnified makes the directory in the v2 hierarchy and passes down to it what controllers it can.
func (t *Tree) makeUnified(mount, own, name string) string {
	base := delegated(filepath.Join(mount, own))
	dir := filepath.Join(base, name)
	if os.MkdirAll(dir, 0o755) != nil || unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) != nil {
		return ""
	}
	for _, group := range []string{base, dir} {
		for _, controller := range []string{"+memory", "+pids"} {
			// Refused where the controller is not offered or where processes sit in the group; judge reports it.
			_ = os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte(controller), 0o644)
		}
	}
	return dir
}

// delegated returns the group that systemd gave us: the parent of our own when it put us into a subgroup of it, so
// that controllers can be passed down, else our own.
func delegated(own string) string {
	parent := filepath.Dir(own)
	var value [8]byte
	for _, attribute := range []string{"user.delegate", "trusted.delegate"} {
		n, err := unix.Getxattr(parent, attribute, value[:])
		if err == nil && string(value[:n]) == "1" {
			return parent
		}
	}
	return own
}

// readMounts maps "cgroup2" and the names of v1 controllers to where they are mounted.
func readMounts() map[string]string {
	mounts := map[string]string{}
	eachLine("/proc/self/mountinfo", func(line string) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 3 {
			return
		}
		switch kind[0] {
		case "cgroup2":
			mounts["cgroup2"] = fields[4]
		case "cgroup":
			for option := range strings.SplitSeq(kind[2], ",") {
				mounts[option] = fields[4]
			}
		}
	})
	return mounts
}

// readOwn maps "" (v2) and the names of v1 controllers to the path of our own group.
func readOwn() map[string]string {
	own := map[string]string{}
	eachLine("/proc/self/cgroup", func(line string) {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) < 3 {
			return
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			own[controller] = parts[2]
		}
	})
	return own
}

func eachLine(path string, do func(line string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		do(lines.Text())
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
