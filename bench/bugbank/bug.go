package bugbank

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Bug is a mistake that somebody could make, and who must find it.
type Bug struct {
	Name string
	// What goes wrong, in a few words.
	What string
	// File, from the root of the repository, and what is replaced in it.
	File, Old, New string
	// Check is what must find it.
	Check Check
}

// Check is a part of the regime: tests of a package, or a chaos run.
type Check struct {
	// Package and Run are those of go test, Flags what its tests take; Package is empty for chaos.
	Package, Run, Flags string
	// Chaos are the flags of a chaos run; Counters are those of its report of which one
	// must move.
	Chaos    string
	Counters []string
	// Limit is how long it may take, without building.
	Limit time.Duration
}

// Where names the part of the regime that a check is of.
func (c Check) Where() string {
	if c.Chaos != "" {
		return "chaos " + c.Chaos
	}
	return strings.TrimSpace(c.Package + " " + c.Flags)
}

// And joins two checks of one part of the regime.
func (c Check) And(other Check) Check {
	switch {
	case c.Run == "" || other.Run == "":
		c.Run = ""
	case !slices.Contains(strings.Split(c.Run, "|"), other.Run):
		c.Run += "|" + other.Run
	}
	c.Counters = append(slices.Clone(c.Counters), other.Counters...)
	c.Limit += other.Limit
	return c
}

// Load reads the bugs of a folder, in order of their names.
func Load(bugs fs.FS) ([]Bug, error) {
	names, err := fs.Glob(bugs, "*.txt")
	if err != nil {
		return nil, fmt.Errorf("listing the bugs: %w", err)
	}
	list := make([]Bug, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(bugs, name)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		b, err := Parse(strings.TrimSuffix(path.Base(name), ".txt"), string(text))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		list = append(list, b)
	}
	return list, nil
}

// The text of a bug is lines "key: value", then what is replaced and what by, each after
// a line that says so.
const (
	oldMark = "--- old\n"
	newMark = "--- new\n"
)

// Parse reads the text of a bug. The error names what is wrong with it.
func Parse(name, text string) (Bug, error) {
	head, rest, ok := strings.Cut(text, oldMark)
	b := Bug{Name: name}
	if !ok {
		return b, fmt.Errorf("there is no line %q", strings.TrimSpace(oldMark))
	}
	if b.Old, b.New, ok = strings.Cut(rest, newMark); !ok {
		return b, fmt.Errorf("there is no line %q", strings.TrimSpace(newMark))
	}
	for line := range strings.Lines(head) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			return b, fmt.Errorf("the line %q is not a key, a colon and a value", line)
		}
		if err := b.set(key, strings.TrimSpace(value)); err != nil {
			return b, err
		}
	}
	return b, b.complete()
}

func (b *Bug) set(key, value string) (err error) {
	switch key {
	case "what":
		b.What = value
	case "file":
		b.File = value
	case "package":
		b.Check.Package = value
	case "run":
		b.Check.Run = value
	case "flags":
		b.Check.Flags = value
	case "chaos":
		b.Check.Chaos = value
	case "counters":
		b.Check.Counters = strings.Fields(value)
	case "limit":
		if b.Check.Limit, err = time.ParseDuration(value); err != nil {
			return fmt.Errorf("limit: %w", err)
		}
	default:
		return fmt.Errorf(
			"nobody knows the key %q; there are what, file, package, run, flags, chaos, counters and limit", key)
	}
	return nil
}

func (b *Bug) complete() error {
	c := b.Check
	switch {
	case b.What == "" || b.File == "" || c.Limit <= 0:
		return errors.New("what, file and limit must be given")
	case (c.Package == "") == (c.Chaos == ""):
		return errors.New("either package or chaos must be given")
	case (c.Chaos == "") != (len(c.Counters) == 0):
		return errors.New("counters must be given with chaos, and only then")
	case b.Old == b.New:
		return errors.New("old and new text are the same")
	}
	return nil
}

// Plant returns the text of the bug's file with the bug in it. What it replaces must be
// there exactly once.
func (b *Bug) Plant(root fs.FS) (string, error) {
	text, err := fs.ReadFile(root, b.File)
	if err != nil {
		return "", fmt.Errorf("reading what %s is planted in: %w", b.Name, err)
	}
	if n := strings.Count(string(text), b.Old); n != 1 {
		return "", fmt.Errorf(
			"the old text of bug %s is %d times in %s, not once: the code changed; plant the same mistake in what it is now",
			b.Name, n, b.File)
	}
	return strings.Replace(string(text), b.Old, b.New, 1), nil
}

// Overlay writes what go build takes to see the bug, into dir, and returns its path.
func (b *Bug) Overlay(root, dir string) (string, error) {
	text, err := b.Plant(os.DirFS(root))
	if err != nil {
		return "", err
	}
	planted := filepath.Join(dir, b.Name+".go")
	if err := os.WriteFile(planted, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("writing the bug: %w", err)
	}
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, b.File): planted}})
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	overlay := filepath.Join(dir, b.Name+".json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	return overlay, nil
}
