package operations

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/actors/planner"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// placeVolume chooses a pool and reserves the space.
func placeVolume(_ context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	return c.Engine.View(func(v *persistence.View) error {
		bytes, err := SizeOf(v, vol)
		if err != nil {
			return err
		}
		choice, err := poolFor(v, vol, bytes)
		if err != nil {
			return err
		}
		if choice.Chosen == nil {
			return NothingFits("pool", "volume", choice)
		}
		c.Outcome.Reserve = append(c.Outcome.Reserve, persistence.Reservation{
			Holder: *choice.Chosen, Owner: vol.Ref(), Amount: resources.Quantities{StorageBytes: bytes},
		})
		Change(c, func(vol *resources.Volume) {
			vol.Status.PoolID, vol.Status.SizeBytes = resources.PoolID(choice.Chosen.ID), bytes
		})
		return nil
	})
}

func unplaceVolume(_ context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	if vol.Status.PoolID != "" {
		c.Outcome.Release = append(c.Outcome.Release, persistence.Reservation{
			Holder: resources.Ref{Kind: resources.KindPool, ID: string(vol.Status.PoolID)}, Owner: vol.Ref(),
		})
	}
	Change(c, func(vol *resources.Volume) { vol.Status = resources.VolumeStatus{} })
	return nil
}

// SizeOf is the size asked for, or that of the source if that is larger or none
// was asked for.
func SizeOf(v *persistence.View, vol *resources.Volume) (uint64, error) {
	source := uint64(0)
	switch {
	case vol.Spec.TemplateID != "":
		t, err := persistence.Find[*resources.Template](v, resources.KindTemplate, string(vol.Spec.TemplateID))
		if err != nil {
			return 0, err
		}
		if t.Phase != resources.PhaseReady {
			return 0, notReady(t)
		}
		source = t.Status.VirtualBytes
	case vol.Spec.SnapshotID != "":
		s, err := persistence.Find[*resources.Snapshot](v, resources.KindSnapshot, string(vol.Spec.SnapshotID))
		if err != nil {
			return 0, err
		}
		if s.Phase != resources.PhaseReady {
			return 0, notReady(s)
		}
		source = s.Status.SizeBytes
	}
	if vol.Spec.SizeBytes == 0 {
		return source, nil
	}
	if vol.Spec.SizeBytes < source {
		return 0, &resources.Error{
			Class: resources.ClassInvalid, Code: "smaller-than-source",
			Message: fmt.Sprintf("the source has %d bytes, more than the %d asked for", source, vol.Spec.SizeBytes),
			Fields: []resources.FieldError{{
				Pointer: "/spec/sizeBytes", Code: "too-small",
				Message: fmt.Sprintf("must be at least %d", source),
			}},
			Remedy: "ask for at least the size of the source",
		}
	}
	return vol.Spec.SizeBytes, nil
}

func notReady(r resources.Resource) error {
	m := r.Metadata()
	ref := m.Ref()
	e := &resources.Error{
		Class: resources.ClassConflict, Code: "not-ready", Message: fmt.Sprintf("%s %s is %s", m.Kind, m.ID, m.Phase),
		Remedy: "wait until it is ready", Resource: &ref,
	}
	if m.Phase == resources.PhaseFailed {
		e.Remedy = "choose another " + string(m.Kind)
	}
	return e
}

// poolFor is ChoosePool for who needs no reasons why the others do not do: where one was asked for, and does, they are
// not read.
func poolFor(v *persistence.View, vol *resources.Volume, bytes uint64) (resources.Choice, error) {
	want, err := wantOf(v, vol, bytes)
	if err != nil {
		return resources.Choice{}, err
	}
	if want.Pool == "" {
		return choosePool(v, want)
	}
	asked, err := persistence.Find[*resources.Pool](v, resources.KindPool, string(want.Pool))
	if err == nil {
		if choice := planner.Pools(want, []*resources.Pool{asked}); choice.Chosen != nil {
			return choice, nil
		}
	}
	return choosePool(v, want)
}

// ChoosePool asks the planner for a pool. A copy of a snapshot goes where the
// snapshot is.
func ChoosePool(v *persistence.View, vol *resources.Volume, bytes uint64) (resources.Choice, error) {
	want, err := wantOf(v, vol, bytes)
	if err != nil {
		return resources.Choice{}, err
	}
	return choosePool(v, want)
}

func choosePool(v *persistence.View, want planner.Want) (resources.Choice, error) {
	var pools []*resources.Pool
	err := v.Each(resources.KindPool, nil, func(r resources.Resource) bool {
		if p, ok := r.(*resources.Pool); ok {
			pools = append(pools, p)
		}
		return true
	})
	return planner.Pools(want, pools), err
}

// wantOf is what a volume needs of its pool.
func wantOf(v *persistence.View, vol *resources.Volume, bytes uint64) (want planner.Want, err error) {
	want = planner.Want{Bytes: bytes, Pool: vol.Spec.PoolID, Tags: vol.Spec.PoolTags}
	if vol.Status.PoolID != "" {
		want.Pool = vol.Status.PoolID
	}
	if vol.Spec.SnapshotID != "" {
		s, err := persistence.Find[*resources.Snapshot](v, resources.KindSnapshot, string(vol.Spec.SnapshotID))
		if err != nil {
			return want, err
		}
		want.Pool = s.Status.PoolID
	}
	if vol.Spec.TemplateID == "" && vol.Spec.HostID == "" {
		return want, nil // any node will do
	}
	if want.Nodes, err = nodesOf(v); err != nil {
		return want, err
	}
	if vol.Spec.TemplateID != "" && !want.Nodes.Alone {
		if _, want.Store, err = templateStore(v, vol.Spec.TemplateID); err != nil {
			return want, err
		}
	}
	if vol.Spec.HostID != "" {
		want.Host, err = persistence.Find[*resources.Host](v, resources.KindHost, string(vol.Spec.HostID))
	}
	return want, err
}

// NothingFits says why no candidate does.
func NothingFits(candidate, what string, choice resources.Choice) *resources.Error {
	e := &resources.Error{
		Class: resources.ClassExhausted, Code: "nothing-fits",
		Message: fmt.Sprintf("no %s fits the %s", candidate, what),
		Remedy:  "see the reasons; add capacity or ask for less", Reasons: choice.Refused,
	}
	why := func(check string) bool {
		return slices.ContainsFunc(choice.Refused, func(r resources.Reason) bool { return r.Check == check })
	}
	switch {
	case why(planner.CheckTemplateNode):
		e.Remedy = "see the reasons; give the template to an image store on the pool's node, add capacity or ask for less"
	case why(planner.CheckNode):
		e.Remedy = "see the reasons; use hosts, pools and networks of one node, add capacity or ask for less"
	}
	if len(choice.Refused) == 0 {
		e.Message = fmt.Sprintf("there is no %s", candidate)
		e.Remedy = "add a " + candidate + " first"
	}
	return e
}
