package sandbox

import (
	"fmt"
	"strings"
)

// Level sums a report up.
type Level string

// Levels, weakest first.
const (
	// LevelNone: nothing that would stop a malicious driver.
	LevelNone Level = "none"
	// LevelBasic: an own user, or resource limits.
	LevelBasic Level = "basic"
	// LevelGood: files and system calls are restricted.
	LevelGood Level = "good"
	// LevelStrong: own user, files, ports and system calls restricted, own namespaces, memory and processes
	// limited by cgroup.
	LevelStrong Level = "strong"
)

// Names of mechanisms in reports.
const (
	MechanismUser         = "user"
	MechanismCapabilities = "capabilities"
	MechanismNoNewPrivs   = "no-new-privs"
	MechanismRlimits      = "rlimits"
	MechanismFiles        = "landlock-files"
	MechanismPorts        = "landlock-ports"
	MechanismScope        = "landlock-scope"
	MechanismSyscalls     = "seccomp"
	MechanismPIDs         = "namespace-pid"
	MechanismIPC          = "namespace-ipc"
	MechanismNetwork      = "namespace-net"
	MechanismMemory       = "cgroup-memory"
	MechanismProcesses    = "cgroup-pids"
)

var levels = []Level{LevelNone, LevelBasic, LevelGood, LevelStrong}

// ParseLevel reads a level from configuration; empty is LevelNone.
func ParseLevel(text string) (Level, error) {
	if text == "" {
		return LevelNone, nil
	}
	for _, level := range levels {
		if string(level) == text {
			return level, nil
		}
	}
	return LevelNone, fmt.Errorf("unknown isolation level %q: want none, basic, good or strong", text)
}

// AtLeast tells whether l is as strong as minimum. An empty level is LevelNone.
func (l Level) AtLeast(minimum Level) bool {
	return l.rank() >= minimum.rank()
}

func (l Level) rank() int {
	for rank, level := range levels {
		if level == l {
			return rank
		}
	}
	return 0
}

// needs lists what each level is made of.
var needs = map[Level][]string{
	LevelStrong: {
		MechanismUser, MechanismCapabilities, MechanismNoNewPrivs, MechanismRlimits, MechanismFiles, MechanismPorts,
		MechanismSyscalls, MechanismPIDs, MechanismIPC, MechanismMemory, MechanismProcesses,
	},
	LevelGood:  {MechanismNoNewPrivs, MechanismRlimits, MechanismFiles, MechanismSyscalls},
	LevelBasic: {MechanismNoNewPrivs, MechanismRlimits},
}

// Judge sets the level that the applied mechanisms make.
func (r *Report) Judge() {
	r.Level = LevelNone
	for _, level := range levels[1:] {
		for _, mechanism := range needs[level] {
			if !r.Has(mechanism) {
				return
			}
		}
		r.Level = level
	}
}

// refusal says why a report does not suffice; empty when it does.
func (r *Report) refusal(minimum Level, require []string) string {
	var lacking []string
	for _, mechanism := range require {
		if !r.Has(mechanism) {
			lacking = append(lacking, mechanism)
		}
	}
	if len(lacking) == 0 && r.Level.AtLeast(minimum) {
		return ""
	}
	var text strings.Builder
	if len(lacking) > 0 {
		fmt.Fprintf(&text, "the driver requires %s", strings.Join(lacking, ", "))
	} else {
		fmt.Fprintf(&text, "isolation is %q here, the minimum is %q", r.Level, minimum)
	}
	for _, missing := range r.Missing {
		fmt.Fprintf(&text, "; %s is missing: %s", missing.Mechanism, missing.Reason)
		if missing.Remedy != "" {
			fmt.Fprintf(&text, " (%s)", missing.Remedy)
		}
	}
	return text.String()
}
