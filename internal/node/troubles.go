package node

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// troublesEvery is how often it is looked where versions of drivers do not run though they should.
const troublesEvery = time.Second

// stateCrashLoop is a trouble, too: its reason is another one at each crash, and is not noted anew.
const stateCrashLoop = string(host.StateCrashLoop)

// noteTroubles has the zone know where versions of drivers do not run, and that they do again, until ctx ends: each
// node speaks for itself, the leader for agents.
func (n *Node) noteTroubles(ctx context.Context) {
	tick := time.NewTicker(troublesEvery)
	defer tick.Stop()
	for {
		if err := n.noteChanged(ctx); err != nil && ctx.Err() == nil {
			n.config.Log.Debug("noting where drivers do not run failed; it is tried again", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *Node) noteChanged(ctx context.Context) error {
	var records []*resources.Driver
	err := n.machine.View(func(v *persistence.View) error {
		if knows, err := v.Enabled(persistence.FeatureDriverVersions); err != nil || !knows {
			return err
		}
		var err error
		records, err = v.Versions("")
		return err
	})
	if err != nil || len(records) == 0 {
		return err
	}
	members := map[string]map[driving.Version]resources.Instance{n.config.Name: n.drivers.Instances()}
	if n.network != nil && n.cluster.Status().Leading {
		n.agents.addInstances(members)
	}
	for _, d := range records {
		for name, instances := range members {
			note := changedTrouble(d, name, instances)
			if note == nil {
				continue
			}
			if _, err := n.log.Propose(ctx, note); err != nil {
				return err
			}
		}
	}
	return nil
}

// changedTrouble says what is to be noted of a version on a member; nil if nothing is.
func changedTrouble(
	d *resources.Driver, member string, instances map[driving.Version]resources.Instance,
) *persistence.NoteTrouble {
	var noted resources.DriverTrouble
	at := slices.IndexFunc(d.Status.Troubles, func(t resources.DriverTrouble) bool { return t.Node == member })
	if at >= 0 {
		noted = d.Status.Troubles[at]
	}
	is := instances[driving.VersionOf(d)]
	note := &persistence.NoteTrouble{Driver: d.ID, Node: member}
	switch is.State {
	case resources.TroubleQuarantined, resources.TroubleFailed, resources.TroubleBlocked, stateCrashLoop:
		note.State, note.Reason = is.State, is.LastError
	case string(host.StateStarting), string(host.StateBackingOff), resources.TroubleFetching:
		return nil // it will be seen what becomes of it
	}
	if note.State == noted.State && (note.Reason == noted.Reason || note.State == stateCrashLoop) {
		return nil
	}
	return note
}

// addInstances adds the processes of the agents that report.
func (a *agents) addInstances(members map[string]map[driving.Version]resources.Instance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, one := range a.by {
		one.mu.Lock()
		if one.conn != nil {
			members[name] = one.instances
		}
		one.mu.Unlock()
	}
}
