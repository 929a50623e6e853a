package door

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// patience is how long a caller waits for a state as fresh as it asked for. It is
// more than an election takes.
const patience = 5 * time.Second

// consistent waits for a state as fresh as asked for and returns its revision.
func (d *Door) consistent(ctx context.Context, e Entry) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	revision, err := d.reader.Consistent(ctx, e.Consistency)
	class := resources.ClassOf(err)
	switch {
	case err == nil:
		return revision, nil
	case ctx.Err() == nil && class != resources.ClassUnavailable:
		return 0, err
	case e.Consistency.AtLeast > revision:
		return 0, NotReached(e.Consistency.AtLeast, revision)
	}
	return 0, noMajority(e.Permission.reads())
}

// NotReached says that the state of this node is older than a caller needs.
func NotReached(wanted, revision uint64) error {
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: "revision-not-reached",
		Message: fmt.Sprintf("this node is at revision %d and not yet at %d", revision, wanted),
		Remedy:  "try again shortly, or ask another node; was the zone restored from a backup since the revision was read?",
	}
}

func noMajority(reads bool) error {
	e := &resources.Error{
		Class: resources.ClassUnavailable, Code: "no-majority",
		Message: "this node can't tell what holds now: no majority of the nodes answers it",
		Remedy:  "try again shortly, or ask another node",
	}
	if reads {
		e.Remedy += "; consistency=stale reads what this node has"
	}
	return e
}
