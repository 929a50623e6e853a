package apitest

import (
	"context"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Called is when a driver of the zone was called last.
func Called() time.Time { return time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC) }

// DriverFigures implements api.Drivers: each driver runs on node-1, was called 12 times, of which one failed, and does
// not answer on node-2.
func (z *Zone) DriverFigures(
	_ context.Context, d *resources.Driver, q resources.FiguresQuery,
) (resources.DriverFigures, error) {
	volume := resources.Ref{Kind: resources.KindVolume, ID: "vol-01jd3v8x5m9k2q7r4t6w8y0z1a"}
	full := resources.CallError{
		At: Called(), Method: "Storage.CreateVolume", Resource: &volume, Class: "exhausted", Code: "no-space",
		Message: "the pool is full",
	}
	one := resources.InstanceFigures{
		Instance: resources.Instance{
			Node: "node-1", State: "running", PID: 4711, StartedAt: Called().Add(-time.Hour), Restarts: 1,
			Isolation: "strong", Health: "ready",
		},
		MemoryBytes: 12 << 20, CPUSeconds: 3.5, Since: Called().Add(-time.Hour), PerSecond: 0.2, InFlight: 1, Called: 1,
		Methods: []resources.MethodFigures{{
			Method: "Storage.CreateVolume", Calls: 12, Outcomes: map[string]uint64{"ok": 11, "exhausted": 1}, PerSecond: 0.2,
			InFlight: 1, MeanSeconds: 0.012, P50Seconds: 0.011, P99Seconds: 1.25,
		}},
		LastErrors: []resources.CallError{
			{At: Called().Add(-time.Minute), Message: "the process ended: killed by signal 9"}, full,
		},
		Metrics: &resources.RegisteredMetrics{
			At: Called(), Names: []string{"bulkhead_driver_a_files_requests_total"}, Series: 1,
			Refused: []string{"up: a series has no value"},
		},
	}
	known := resources.ResourceFigures{
		Node: "node-1", Resource: volume, Calls: 12, Failed: 1, MeanSeconds: 0.012, LongestSeconds: 1.25, LastAt: Called(),
		LastMethod: "Storage.CreateVolume", LastOutcome: "exhausted", LastError: &full,
	}
	if q.Limit > 0 && (q.Kind == "" || q.Kind == volume.Kind) && (q.ID == "" || q.ID == volume.ID) {
		one.Resources = append(one.Resources, known)
	}
	return resources.DriverFigures{
		Items:      []resources.InstanceFigures{one},
		Unanswered: []resources.Unanswered{{Node: "node-2", Reason: "it is silent"}},
		Bound: []resources.BoundCount{{
			Kind: resources.KindPool, Count: 2, List: "/v1/pools?driver=" + d.Spec.Product,
		}},
	}, nil
}

// DriverLogs implements api.Drivers: each driver printed something on node-1, nothing on node-3, and node-2 does not
// answer.
func (z *Zone) DriverLogs(
	_ context.Context, d *resources.Driver, q resources.LogsQuery,
) (found resources.DriverLogs, err error) {
	lines := []string{"started " + d.Spec.Product, "an escape \x1b[2J", "ready"}
	switch q.Node {
	case "node-1", "":
		found.Items = append(found.Items, resources.InstanceLog{Node: "node-1", Lines: lines[max(len(lines)-q.Lines, 0):]})
	case "node-2", "node-3":
	default:
		return found, &resources.Error{
			Class: resources.ClassInvalid, Code: "no-such-node", Message: "there is no node or agent",
		}
	}
	if q.Node == "node-3" || q.Node == "" {
		found.Items = append(found.Items, resources.InstanceLog{Node: "node-3", Lines: []string{}})
	}
	if q.Node == "node-2" || q.Node == "" {
		found.Unanswered = []resources.Unanswered{{Node: "node-2", Reason: "it is silent"}}
	}
	return found, nil
}

// SwapProgress implements api.Bindings: five have gone, and of three that are left one can go.
func (z *Zone) SwapProgress(_ context.Context, _ *resources.Swap, most int) (resources.SwapProgress, error) {
	left := []resources.SwapMember{
		{
			Resource: resources.Ref{Kind: resources.KindVolume, ID: "vol-01jd3v8x5m9k2q7r4t6w8y0z1a"}, Name: "data",
			State: resources.MemberNeedsOperator, Operation: "op-01jd3v8x5m9k2q7r4t6w8y0z1a", Action: "grow",
		},
		{
			Resource: resources.Ref{Kind: resources.KindVolume, ID: "vol-01jd3v8x5m9k2q7r4t6w8y0z1b"}, Name: "logs",
			State: resources.MemberSuspended,
		},
		{
			Resource: resources.Ref{Kind: resources.KindPool, ID: "pool-01jd3v8x5m9k2q7r4t6w8y0z1a"},
			State:    resources.MemberIdle,
		},
	}
	return resources.SwapProgress{
		Moved: 5, Left: len(left), NeedsOperator: 1, Suspended: 1, Items: left[:min(len(left), most)],
	}, nil
}

// Acting implements api.Bindings: the version of each driver that was created first acts.
func (z *Zone) Acting(ctx context.Context, r resources.Resource) (resources.ActingDriver, error) {
	if of, is := r.(*resources.Snapshot); is { // the one that has its volume
		v, _, err := z.Get(ctx, resources.Ref{Kind: resources.KindVolume, ID: string(of.Spec.VolumeID)})
		if err != nil {
			return resources.ActingDriver{}, err
		}
		r = v
	}
	owner := r
	if ref := resources.OwnerOf(r); ref != r.Metadata().Ref() {
		var err error
		if owner, _, err = z.Get(ctx, ref); err != nil {
			return resources.ActingDriver{}, err
		}
	}
	product := owner.Facets()["driver"]
	page, err := z.List(ctx, resources.Query{Kind: resources.KindDriver, Facets: map[string]string{"product": product}})
	if err != nil {
		return resources.ActingDriver{}, err
	}
	for _, one := range page.Items {
		if d, ok := one.(*resources.Driver); ok {
			return resources.ActingDriver{
				ID: resources.DriverID(d.ID), Product: product, Version: d.Spec.Version, Bound: true, HandleVersion: 1,
			}, nil
		}
	}
	code := "no-such-driver"
	if product == "" {
		code = "no-driver"
	}
	return resources.ActingDriver{}, &resources.Error{
		Class: resources.ClassNotFound, Code: code, Message: "no driver acts for " + r.Metadata().Ref().String(),
	}
}
