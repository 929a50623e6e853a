package cluster

import "fmt"

// EntryFormat is the newest format of log entries that this program reads and writes.
const EntryFormat = markedVersion

// Formats are how things are written in a zone of some level. Older ones are read as well.
type Formats struct{ Entry, Snapshot, Wire uint32 }

// markedLevel is the level of zones from which on entries and snapshots say it.
const markedLevel = 2

// FormatsOf tells the formats of a level.
func FormatsOf(level uint32) Formats {
	if level < markedLevel {
		return Formats{Entry: taggedVersion, Snapshot: envelopeVersion, Wire: wireVersion}
	}
	return Formats{Entry: markedVersion, Snapshot: markedEnvelope, Wire: wireVersion}
}

// wireVersion counts changes of what nodes say to each other that an older program would misunderstand. Calls and
// fields that are added are none: who does not know them says so, or leaves them out.
const wireVersion = 1

// Levels of zones, from oldest to newest, that a program can work with. The level of a zone is part of the state and
// never sinks. The zero value is Levels{1, 1}.
type Levels struct{ Oldest, Newest uint32 }

func (l Levels) orFirst() Levels {
	return Levels{Oldest: orElse(l.Oldest, 1), Newest: orElse(l.Newest, 1)}
}

// check says what keeps a program from what was written in a zone of a level.
func (l Levels) check(level uint32) error {
	l = l.orFirst()
	switch level = orElse(level, 1); {
	case level > l.Newest:
		return fmt.Errorf("written in a zone of level %d, this program knows levels up to %d: %w; "+
			"install the version that the other nodes run", level, l.Newest, ErrVersion)
	case level < l.Oldest:
		return fmt.Errorf("written in a zone of level %d, this program knows none below %d: %w; "+
			"upgrade to a version in between first, and finalize", level, l.Oldest, ErrVersion)
	}
	return nil
}
