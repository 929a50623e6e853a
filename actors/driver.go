package actors

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/lifecycle"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// judge refuses what becomes of a version of a driver if that is not allowed where it stands, or by what requires what.
// The command says by which records it was judged: the state refuses it if they have changed.
func (e *Engine) judge(current, next resources.Resource, cmd *persistence.Submit) error {
	is, ok := next.(*resources.Driver)
	if !ok {
		return nil
	}
	was, had := current.(*resources.Driver)
	return e.state.View(func(v *persistence.View) error {
		judged, err := requirements(v, is, cmd)
		if err != nil {
			return err
		}
		if had {
			return v.MayChange(was, is, judged)
		}
		return v.MayInstall(is, judged)
	})
}

// MayInstall tells beforehand whether a new version of a driver would be refused.
func (e *Engine) MayInstall(d *resources.Driver) error { return e.judge(nil, d, &persistence.Submit{}) }

// judgeRemoval is judge for a version that is to be removed.
func (e *Engine) judgeRemoval(s resources.Submission, action resources.Action, cmd *persistence.Submit) error {
	if s.Target.Kind != resources.KindDriver || !action.Deletes {
		return nil
	}
	return e.state.View(func(v *persistence.View) error {
		d, err := persistence.Find[*resources.Driver](v, resources.KindDriver, s.Target.ID)
		if resources.ClassOf(err) == resources.ClassNotFound {
			return nil // the state says so
		}
		if err != nil {
			return err
		}
		without := *d
		without.Spec.Enabled = false
		judged, err := requirements(v, &without, cmd)
		if err != nil {
			return err
		}
		return v.MayRemove(d, judged)
	})
}

// requirements says what it comes to for what requires what if a version becomes next.
func requirements(
	v *persistence.View, next *resources.Driver, cmd *persistence.Submit,
) (judged resources.RequirementVerdict, err error) {
	knows, err := v.Enabled(persistence.FeatureDriverVersions)
	if err != nil || !knows { // then nothing is installed that could require anything
		return judged, err
	}
	records, err := v.Versions("")
	if err != nil {
		return judged, err
	}
	witness, err := v.DriversWitness()
	cmd.Drivers = &witness
	return lifecycle.Judge(records, next), err
}
