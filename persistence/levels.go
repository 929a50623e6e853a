package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Levels are the levels of zones that a program can work with. The level of a zone
// says how entries and snapshots are written and which features there are; it is in
// the state and rises only by a Finalize.
type Levels struct {
	Oldest uint32 `json:"o"`
	Newest uint32 `json:"n"`
}

// The levels of this program. A change of what the log or the state may hold is a new
// level: add to what is below, to Features and to commands, and raise NewestLevel.
const (
	// OldestLevel is that of zones from before there were levels.
	OldestLevel = 1
	// NewestLevel brings what Features says.
	NewestLevel = 3
)

// ProgramLevels are those of this program.
func ProgramLevels() Levels { return Levels{Oldest: OldestLevel, Newest: NewestLevel} }

// Feature is something that a zone has from a level on.
type Feature string

// Features that commands ask for.
const (
	// FeatureMarkedEntries: entries of the log and snapshots say the level of the zone.
	FeatureMarkedEntries Feature = "marked-entries"
	// FeatureKnownPrograms: the state knows which program each node runs, and lets no
	// older one in.
	FeatureKnownPrograms Feature = "known-programs"
	// FeatureHostAgents: agents of hosts can join, and share no name with a node.
	FeatureHostAgents Feature = "host-agents"
	// FeatureMovingMachines: machines move and are recovered, hosts are fenced and
	// maintained, pools are shared.
	FeatureMovingMachines Feature = "moving-machines"
	// FeatureWholeAudit: each line of the audit log has a position of its own.
	FeatureWholeAudit Feature = "whole-audit"
	// FeatureDriverVersions: several versions of a driver are installed at once, and one of them is current.
	FeatureDriverVersions Feature = "driver-versions"
	// FeatureSealedSecrets: secrets of resources are sealed where they lie, with keys that only nodes have.
	FeatureSealedSecrets Feature = "sealed-secrets"
	// FeatureOperationProperties: operations carry settings of drivers.
	FeatureOperationProperties Feature = "operation-properties"
	// FeaturePolicies: policies say who may use which drivers for what.
	FeaturePolicies Feature = "policies"
	// FeatureEventLog: nodes keep events in a log, where programs of before do not look for them.
	FeatureEventLog Feature = "event-log"
)

// FeatureInfo says of a feature which level brings it.
type FeatureInfo struct {
	Name  Feature
	Level uint32
	About string
}

// Features lists all that this program knows, in the order of their levels.
func Features() []FeatureInfo {
	return []FeatureInfo{
		{FeatureMarkedEntries, 2, "entries of the log, snapshots and backups say which level it takes to read them"},
		{FeatureKnownPrograms, 2, "the zone keeps which program each node runs, and lets no older one join"},
		{FeatureHostAgents, 2, "agents of hosts can join, and run drivers on machines that are no nodes"},
		{FeatureMovingMachines, 2, "machines move between hosts and are recovered from lost ones; pools can be shared"},
		{FeatureWholeAudit, 2, "changes of members that are agreed on together each have a line in the audit log"},
		{FeatureDriverVersions, 2, "drivers can be installed, several versions of one at once"},
		{FeatureSealedSecrets, 2, "secrets of resources are sealed in the log, the state and backups"},
		{FeatureOperationProperties, 2, "drivers can be given settings for one operation alone"},
		{FeaturePolicies, 2, "policies say which roles may use which drivers, actions and properties"},
		{FeatureEventLog, 3, "nodes keep events in a log, which takes a fraction of the work and of the room"},
	}
}

// Check says what keeps a program of these levels from working with a zone.
func (l Levels) Check(zone uint32) error {
	switch {
	case zone > l.Newest:
		return fmt.Errorf("the zone was raised to level %d and this program knows levels up to %d: %w; "+
			"install the version that the other nodes run", zone, l.Newest, ErrNewer)
	case zone < l.Oldest:
		return fmt.Errorf("the zone is of level %d and this program knows none below %d: %w; "+
			"upgrade to a version in between first, and finalize", zone, l.Oldest, ErrOlder)
	}
	return nil
}

// Level is that of the zone.
func (v *View) Level() (uint32, error) {
	data, known, err := v.r.Get(levelKey())
	if err != nil {
		return 0, fmt.Errorf("reading the zone's level: %w", err)
	}
	if !known {
		return OldestLevel, nil
	}
	if len(data) != 8 {
		return 0, fmt.Errorf("reading the zone's level: %d bytes: %w", len(data), ErrCorrupt)
	}
	return uint32(binary.BigEndian.Uint64(data)), nil
}

// Enabled reports whether the zone has a feature. It is the same on all nodes at one
// point of the log, so that commands may ask while they are applied.
func (v *View) Enabled(f Feature) (bool, error) {
	for _, known := range Features() {
		if known.Name == f {
			level, err := v.Level()
			return level >= known.Level, err
		}
	}
	return false, nil
}

// Require refuses what takes a feature that the zone does not have yet.
func (v *View) Require(f Feature) error {
	for _, known := range Features() {
		if known.Name != f {
			continue
		}
		if level, err := v.Level(); err != nil || level < known.Level {
			return errors.Join(err, notYet(string(f), known.Level, level))
		}
	}
	return nil
}

func levelKey() []byte { return key(familyMeta, "level") }

func (t *tx) raise(level uint32) {
	t.putNumber("level", uint64(level))
	t.memory.raised = true
}

// has refuses a command that the zone's level does not have yet. Finalize is what
// makes it have more: see there.
func (t *tx) has(cmd Command) error {
	name := cmd.commandName()
	least := t.codec.commands[name].level
	if _, raises := cmd.(*Finalize); raises || least <= OldestLevel {
		return nil
	}
	level, err := t.Level()
	if err != nil || least <= level {
		return err
	}
	return notYet(name, least, level)
}

func notYet(name string, least, level uint32) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "feature-waits",
		Message: fmt.Sprintf("%q takes a zone of level %d, and this one is of level %d", name, least, level),
		Remedy:  "upgrade all nodes, then: bulkhead upgrade finalize",
	}
}

// Level is that of the zone, as far as entries were applied here.
func (m *Machine) Level() uint32 { return m.level.Load() }

// Allows refuses to propose a command that other nodes may not know yet.
func (m *Machine) Allows(cmd Command) error {
	if _, raises := cmd.(*Finalize); raises {
		return nil // it says itself who knows it
	}
	name, level := cmd.commandName(), m.Level()
	if least := m.codec.commands[name].level; least > level {
		return notYet(name, least, level)
	}
	submit, ok := cmd.(*Submit)
	if !ok || level >= NewestLevel || submit.Resource == nil {
		return nil
	}
	return m.allowsResource(submit.Resource, level)
}

// allowsResource refuses a resource with what programs of the zone's level would lose.
func (m *Machine) allowsResource(d *Document, level uint32) error {
	r, err := m.codec.Open(d)
	if err != nil {
		return err
	}
	if newer, ok := r.(interface{ Level() uint32 }); ok && newer.Level() > level {
		feature := FeatureMovingMachines
		switch d.Kind {
		case resources.KindDriver, resources.KindSwap:
			feature = FeatureDriverVersions
		case resources.KindPolicy:
			feature = FeaturePolicies
		default:
		}
		return notYet(string(feature), newer.Level(), level)
	}
	return nil
}

// readLevel takes note of the zone's level. The error is that of Levels.Check if this
// program can't work with it.
func (m *Machine) readLevel() error {
	logs := false
	err := m.View(func(v *View) error {
		level, err := v.Level()
		if err != nil {
			return err
		}
		m.level.Store(level)
		logs, err = v.Enabled(FeatureEventLog)
		return errors.Join(err, m.codec.levels.Check(level))
	})
	store, can := m.store.(Logger)
	if err != nil || !logs || !can {
		return err
	}
	return store.KeepLog([]byte(familyEvent))
}
