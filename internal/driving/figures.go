package driving

import (
	"context"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/meter"
	"github.com/bulkhead-cloud/bulkhead/drivers/instrument"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

var _ relay.Meters = (*Drivers)(nil)

// Figures implements relay.Meters. A driver that was not asked for its own metrics just now is asked, and not waited
// for: who asks again hears what it said.
func (d *Drivers) Figures(
	_ context.Context, product, number string, q resources.FiguresQuery,
) (*resources.InstanceFigures, error) {
	v := Version{product, number}
	one, here := d.here(v)
	if !here {
		if trouble, found := d.shownTroubles()[v]; found {
			return &resources.InstanceFigures{Instance: trouble}, nil
		}
		return nil, nil //nolint:nilnil // there is no instance
	}
	i, runs := d.host.Instance(host.InstanceName(one.Product, one.manifest.Version))
	if !runs {
		return nil, nil //nolint:nilnil // there is no instance
	}
	return d.figures(i, q), nil
}

func (d *Drivers) figures(i *host.Instance, q resources.FiguresQuery) *resources.InstanceFigures {
	counted, used := i.Meter().Figures(), i.Usage()
	f := &resources.InstanceFigures{
		Instance: d.show(i), MemoryBytes: used.MemoryBytes, CPUSeconds: used.CPU.Seconds(),
		Since: counted.Since.UTC(), Waiting: counted.Waiting, Called: counted.Resources,
		LastErrors: lastErrors(counted.Failures, i.LastErrors()), Metrics: registered(i),
		Resources: d.called(i.Meter(), q),
	}
	for _, m := range counted.Methods {
		shown := methodFigures(m)
		f.PerSecond += shown.PerSecond
		f.InFlight += shown.InFlight
		f.Methods = append(f.Methods, shown)
	}
	return f
}

func methodFigures(m meter.Method) resources.MethodFigures {
	of := m.Recent
	if of.Count() == 0 {
		of = m.Took
	}
	shown := resources.MethodFigures{
		Method: m.Name, Outcomes: map[string]uint64{}, PerSecond: m.PerSecond, InFlight: m.InFlight,
		MeanSeconds: mean(m.Took.Sum, m.Took.Count()),
		P50Seconds:  of.Quantile(0.5).Seconds(), P99Seconds: of.Quantile(0.99).Seconds(),
	}
	for outcome, n := range m.Calls {
		shown.Outcomes[string(outcome)] = n
		shown.Calls += n
	}
	return shown
}

func mean(sum time.Duration, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return sum.Seconds() / float64(n)
}

// lastErrors joins the failures of calls and of processes, oldest first.
func lastErrors(calls []meter.Failure, processes []host.Failure) (all []resources.CallError) {
	for _, c := range calls {
		all = append(all, callError(c))
	}
	for _, p := range processes {
		all = append(all, resources.CallError{At: p.At.UTC(), Message: operations.Words(p.Text)})
	}
	slices.SortStableFunc(all, func(a, b resources.CallError) int { return a.At.Compare(b.At) })
	return all
}

func callError(f meter.Failure) resources.CallError {
	e := resources.CallError{
		At: f.At.UTC(), Method: f.Method, Class: string(f.Outcome), Code: operations.Words(f.Code),
		Message: operations.Words(f.Message),
	}
	if f.ID != "" {
		e.Resource = &resources.Ref{Kind: resources.Kind(f.Kind), ID: f.ID}
	}
	return e
}

// registered says what a driver itself counts.
func registered(i *host.Instance) *resources.RegisteredMetrics {
	own := i.Own()
	if own.At.IsZero() || own.None {
		return nil
	}
	r := &resources.RegisteredMetrics{At: own.At.UTC(), Series: own.Reading.Series}
	prefix := instrument.Prefix(i.Manifest().Name)
	for _, f := range own.Reading.Families {
		r.Names = append(r.Names, prefix+f.GetName())
	}
	for n, refused := range own.Reading.Refused {
		if n == refusalsShown {
			break
		}
		r.Refused = append(r.Refused, refused.String())
	}
	if own.Err != nil {
		r.Error = operations.Words(own.Err.Error())
	}
	return r
}

// refusalsShown bounds how many metrics that are left out are named.
const refusalsShown = 20

// called says for which resources the instance was called.
func (d *Drivers) called(m *meter.Meter, q resources.FiguresQuery) (list []resources.ResourceFigures) {
	var found []meter.Resource
	if q.ID == "" {
		found = m.Latest(string(q.Kind), q.Limit)
	} else if one, known := m.Resource(string(q.Kind), q.ID); known && q.Limit > 0 {
		found = append(found, one)
	}
	for _, r := range found {
		shown := resources.ResourceFigures{
			Node: d.node, Resource: resources.Ref{Kind: resources.Kind(r.Kind), ID: r.ID}, Calls: r.Calls, Failed: r.Failed,
			MeanSeconds: mean(r.Took, r.Calls), LongestSeconds: r.Longest.Seconds(), LastAt: r.At.UTC(),
			LastMethod: r.Method, LastOutcome: string(r.Outcome),
		}
		if r.Failed > 0 {
			e := callError(r.Failure)
			shown.LastError = &e
		}
		list = append(list, shown)
	}
	return list
}
