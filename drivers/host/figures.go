package host

import (
	"context"
	"errors"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/meter"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Meter has the figures of the instance's calls, through all its processes, since this server runs. What the host asks
// for itself, such as whether the process lives, is not among them.
func (i *Instance) Meter() *meter.Meter { return i.meter }

// Usage is what the process that runs uses, with all that it started; zero when none runs, or nothing is known.
func (i *Instance) Usage() cgroup.Usage {
	if i.PID() == 0 {
		return cgroup.Usage{}
	}
	return i.host.cgroups.Find(groupName(i.name)).Usage()
}

// resultOf says what became of a call, and which resource it was about.
func resultOf(request any, err error) meter.Failure {
	result := meter.Failure{Outcome: meter.OK}
	var call *driverpb.Call
	if about, ok := request.(interface{ GetCall() *driverpb.Call }); ok {
		call = about.GetCall()
		result.Kind, result.ID = call.GetResource().GetKind(), call.GetResource().GetId()
	}
	if err == nil {
		return result
	}
	fault := sdk.FaultOf(err)
	switch {
	case errors.Is(err, context.Canceled):
		result.Outcome = meter.Canceled
	case fault == nil && errors.Is(err, context.DeadlineExceeded):
		result.Outcome, result.Code, result.Message = outcomeOf(driverpb.Class_CLASS_UNKNOWN), "deadline", err.Error()
	case fault == nil:
		result.Outcome, result.Code, result.Message = outcomeOf(driverpb.Class_CLASS_INTERNAL), "internal", err.Error()
	default:
		result.Outcome, result.Code = outcomeOf(fault.GetClass()), fault.GetCode()
		result.Message = sdk.Redact(fault.GetMessage(), call.GetSecrets())
	}
	return result
}

// outcomeOf is a class in the vocabulary's words: "not-found". One that this version does not know is internal.
func outcomeOf(class driverpb.Class) meter.Outcome {
	name, known := driverpb.Class_name[int32(class)]
	if !known || class == driverpb.Class_CLASS_UNSPECIFIED {
		name = driverpb.Class_CLASS_INTERNAL.String()
	}
	return meter.Outcome(strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "CLASS_")), "_", "-"))
}
