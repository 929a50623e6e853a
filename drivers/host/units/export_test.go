package units

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// SpecOf is what the stage is told of a launch.
func (l *Launcher) SpecOf(launch *driverpb.Launch, program Program) (sandbox.Spec, error) {
	return l.spec(launch, program)
}
