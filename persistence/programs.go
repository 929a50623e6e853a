package persistence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Program is what a node runs.
type Program struct {
	Node    string `json:"a"`
	Version string `json:"v"`
	Levels  Levels `json:"l"`
	// Since is when the state was told.
	Since time.Time `json:"s,omitzero"`
}

// Finalize raises the zone to a level. Nodes are all that there are, voters and
// learners, with what each said a moment ago that it runs: it is refused if one of
// them, or of those that the state knows of, could not go on. Only programs that know
// the new level know this command, so it must not be proposed unless all said so.
type Finalize struct {
	Level  uint32           `json:"l"`
	Nodes  []Program        `json:"n"`
	Origin resources.Origin `json:"w"`
}

func (*Finalize) commandName() string { return "finalize" }

func (c *Finalize) apply(t *tx) (Result, error) {
	level, err := t.Level()
	if err != nil || level == c.Level {
		return Result{}, err
	}
	if level > c.Level {
		return Result{}, &resources.Error{
			Class: resources.ClassConflict, Code: "level-lower",
			Message: fmt.Sprintf("the zone is of level %d: it can't go back to %d", level, c.Level),
			Remedy:  "restore a backup of before into a new cluster, if it must be",
		}
	}
	if err := c.check(t); err != nil {
		return Result{}, err
	}
	if err := t.codec.levels.Check(c.Level); err != nil {
		return Result{}, err // not to be refused: the others know it
	}
	zone, err := t.Zone()
	if err != nil {
		return Result{}, err
	}
	t.raise(c.Level)
	return Result{}, t.audit(resources.Audit{
		Principal: c.Origin.Principal, Source: c.Origin.Source, RequestID: c.Origin.RequestID, Digest: c.Origin.Digest,
		Action: "finalize", Target: zone.Ref(), Decision: "accepted",
	})
}

// check refuses to leave a node behind.
func (c *Finalize) check(t *tx) error {
	var behind []string
	for _, p := range c.Nodes {
		if p.Levels.Newest < c.Level {
			behind = append(behind, fmt.Sprintf("%s runs %s, which knows levels up to %d", p.Node, p.Version, p.Levels.Newest))
		}
	}
	unasked, err := c.unasked(t)
	if err != nil {
		return err
	}
	behind = append(behind, unasked...)
	programs, err := t.Programs()
	if err != nil {
		return err
	}
	for _, p := range programs {
		if p.Levels.Newest < c.Level {
			behind = append(behind, fmt.Sprintf("%s said last that it runs %s", p.Node, p.Version))
		}
	}
	if len(behind) == 0 {
		return nil
	}
	return NodesBehind(c.Level, behind)
}

// unasked lists the nodes that were let in and are not among those that were asked.
func (c *Finalize) unasked(t *tx) (list []string, err error) {
	members, err := t.Members()
	for _, m := range members {
		asked := slices.ContainsFunc(c.Nodes, func(p Program) bool { return p.Node == m.Name })
		if m.Role == RoleNode && !m.Expelled && !m.Since.IsZero() && !asked {
			list = append(list, m.Name+" was let in and not asked")
		}
	}
	return list, err
}

// NodesBehind says which nodes keep a zone from a level.
func NodesBehind(level uint32, which []string) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "nodes-behind",
		Message: fmt.Sprintf("the zone can't be raised to level %d: %s", level, strings.Join(which, "; ")),
		Remedy:  "upgrade these nodes, or remove those that are lost, then try again: see 'bulkhead upgrade status'",
	}
}

// Declare writes down which program a node runs. It comes with FeatureKnownPrograms.
type Declare struct {
	Program Program `json:"p"`
}

func (*Declare) commandName() string { return "declare" }

func (c *Declare) apply(t *tx) (Result, error) {
	level, err := t.Level()
	if err != nil {
		return Result{}, err
	}
	if c.Program.Levels.Newest < level {
		return Result{}, programTooOld(c.Program, level)
	}
	m, known, err := t.Member(RoleNode, c.Program.Node)
	if err != nil {
		return Result{}, err
	}
	if known && m.Expelled {
		return Result{}, &resources.Error{
			Class: resources.ClassDenied, Code: "node-removed",
			Message: fmt.Sprintf("%s was removed from the cluster", c.Program.Node),
		}
	}
	return Result{}, t.putProgram(c.Program)
}

func (t *tx) putProgram(p Program) error {
	p.Since = t.at
	return t.putRecord(programKey(p.Node), "a program", p)
}

// forgetProgram forgets what a node runs that is no more.
func (t *tx) forgetProgram(role, node string) error {
	_, known, err := t.Program(node)
	if known && role == RoleNode {
		t.pending.remove(programKey(node))
	}
	return err
}

func programTooOld(p Program, level uint32) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "program-too-old",
		Message: fmt.Sprintf("%s runs %s, which knows levels up to %d, and the zone is of level %d",
			p.Node, p.Version, p.Levels.Newest, level),
		Remedy: "install the version that the other nodes run",
	}
}

// Programs lists what the nodes said that they run, in the order of their names. It is
// empty without FeatureKnownPrograms.
func (v *View) Programs() (list []Program, err error) {
	err = v.eachRecord([]byte(familyProgram), func(data []byte) error {
		var p Program
		err := v.codec.unmarshal("a program", data, &p)
		list = append(list, p)
		return err
	})
	return list, err
}

// Program returns what a node said that it runs; false if it said nothing.
func (v *View) Program(node string) (p Program, known bool, err error) {
	known, err = v.record(programKey(node), "a program", &p)
	return p, known, err
}

func programKey(node string) []byte { return key(familyProgram, node) }
