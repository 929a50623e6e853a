package persistence

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// NoteTrouble notes that a version of a driver does not run on a member though it is enabled, or that it does again.
// What is noted already makes no event.
type NoteTrouble struct {
	// Driver is its id. One that is gone has no troubles.
	Driver string `json:"d"`
	Node   string `json:"n"`
	// State is a trouble's; "" = there is none any more.
	State  string `json:"s,omitempty"`
	Reason string `json:"r,omitempty"`
}

func (*NoteTrouble) commandName() string { return "note-trouble" }

func (c *NoteTrouble) apply(t *tx) (Result, error) {
	t.principal = "system"
	current, err := Find[*resources.Driver](&t.View, resources.KindDriver, c.Driver)
	if resources.ClassOf(err) == resources.ClassNotFound {
		return Result{}, nil
	}
	if err != nil {
		return Result{}, err
	}
	return Result{}, t.noteTrouble(current, c.Node, c.State, c.Reason)
}

func (t *tx) noteTrouble(current *resources.Driver, node, state, reason string) error {
	clone, err := t.codec.Clone(current)
	if err != nil {
		return err
	}
	next, ok := clone.(*resources.Driver)
	if !ok {
		return nil
	}
	at, had := slices.BinarySearchFunc(next.Status.Troubles, node, func(one resources.DriverTrouble, node string) int {
		return strings.Compare(one.Node, node)
	})
	noted := resources.DriverTrouble{Node: node, State: state, Reason: reason, Since: t.at}
	switch {
	case state == "" && !had:
		return nil
	case state == "":
		next.Status.Troubles = slices.Delete(next.Status.Troubles, at, at+1)
	case !had:
		next.Status.Troubles = slices.Insert(next.Status.Troubles, at, noted)
	case next.Status.Troubles[at].State == state && next.Status.Troubles[at].Reason == reason:
		return nil
	default:
		if next.Status.Troubles[at].State == state {
			noted.Since = next.Status.Troubles[at].Since
		}
		next.Status.Troubles[at] = noted
	}
	degrade(next)
	return t.update(current, next)
}

// degrade makes the phase of a version, once it is installed, what its troubles say.
func degrade(d *resources.Driver) {
	if d.Phase != resources.PhaseReady && d.Phase != resources.PhaseDegraded {
		return
	}
	d.Phase, d.Reason = resources.PhaseReady, ""
	if len(d.Status.Troubles) == 0 {
		return
	}
	d.Phase = resources.PhaseDegraded
	var where []string
	for _, one := range d.Status.Troubles {
		where = append(where, fmt.Sprintf("%s on %s", one.State, one.Node))
	}
	const most = 5
	if len(where) > most {
		where = append(where[:most], "...")
	}
	d.Reason = strings.Join(where, ", ")
}

// forgetTroubles forgets the troubles that drivers had on a member which was taken out.
func (t *tx) forgetTroubles(node string) error {
	versions, err := t.Versions("")
	if err != nil {
		return err
	}
	for _, d := range versions {
		if err := t.noteTrouble(d, node, "", ""); err != nil {
			return err
		}
	}
	return nil
}
