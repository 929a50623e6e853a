package driving

import (
	"context"
	"maps"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/meter"
	"github.com/bulkhead-cloud/bulkhead/drivers/instrument"
)

const (
	// gatherPatience is how long the page of metrics waits for drivers to say what they count. What they said before
	// stands in for it.
	gatherPatience = 500 * time.Millisecond
	// ownLasts is how long what a driver said may stand in.
	ownLasts = 5 * time.Minute
)

// Families are the metrics of all instances here: what is counted of them first, then what they count themselves. It
// asks them, and returns soon whatever they do.
func (d *Drivers) Families(ctx context.Context) []*dto.MetricFamily {
	ctx, cancel := context.WithTimeout(ctx, gatherPatience)
	defer cancel()
	d.host.Gather(ctx)
	p := newMetricsPage()
	var own []*dto.MetricFamily
	for _, i := range d.host.Instances() {
		m := i.Manifest()
		labels := []*dto.LabelPair{
			instrument.Label(instrument.LabelDriver, m.Name), instrument.Label(instrument.LabelInstance, i.Name()),
			instrument.Label(instrument.LabelVersion, m.Version),
		}
		p.instance(i, labels)
		if said := i.Own(); time.Since(said.At) < ownLasts {
			own = append(own, p.beside(said.Reading.Under(instrument.Prefix(m.Name), labels...))...)
		}
	}
	return append(p.families(), own...)
}

// The metrics of each instance, by name, with their types and help.
const (
	stateName      = "bulkhead_driver_state"
	restartsName   = "bulkhead_driver_restarts_total"
	memoryName     = "bulkhead_driver_memory_bytes"
	cpuName        = "bulkhead_driver_cpu_seconds_total"
	seriesName     = "bulkhead_driver_registered_series"
	refusedName    = "bulkhead_driver_registered_refused"
	failuresName   = "bulkhead_driver_registered_failures_total"
	waitingName    = "bulkhead_driver_calls_waiting"
	inFlightName   = "bulkhead_driver_calls_in_flight"
	callsName      = "bulkhead_driver_calls_total"
	callSecondName = "bulkhead_driver_call_seconds"
)

// newMetricsPage makes a page with nothing on it.
func newMetricsPage() *metricsPage {
	p := &metricsPage{by: map[string]*dto.MetricFamily{}, taken: map[string]bool{}}
	for _, f := range []struct {
		name string
		kind dto.MetricType
		help string
	}{
		{stateName, dto.MetricType_GAUGE, "1 for the state that an instance is in, 0 for the others."},
		{restartsName, dto.MetricType_COUNTER, "Processes that were started after the first one."},
		{memoryName, dto.MetricType_GAUGE, "Memory that the kernel counts for an instance."},
		{cpuName, dto.MetricType_COUNTER, "Processor time of the process that runs, and of what it started."},
		{seriesName, dto.MetricType_GAUGE, "Series that a driver registered itself."},
		{refusedName, dto.MetricType_GAUGE, "Metrics that a driver registered and that are left out; the API says why."},
		{failuresName, dto.MetricType_COUNTER, "Times a driver did not say properly what it counts."},
		{waitingName, dto.MetricType_GAUGE, "Calls that wait for their turn."},
		{inFlightName, dto.MetricType_GAUGE, "Calls that are under way."},
		{callsName, dto.MetricType_COUNTER, "Calls that ended, by what became of them: ok, canceled or a class of faults."},
		{callSecondName, dto.MetricType_HISTOGRAM, "Time of a call that had its turn."},
	} {
		family := &dto.MetricFamily{Name: &f.name, Help: &f.help, Type: &f.kind}
		p.by[f.name] = family
		p.order = append(p.order, family)
		for _, n := range instrument.Names(family) {
			p.taken[n] = true
		}
	}
	return p
}

// metricsPage collects the metrics of instances.
type metricsPage struct {
	by    map[string]*dto.MetricFamily
	order []*dto.MetricFamily
	taken map[string]bool // names of series
}

// families are those with something in them.
func (p *metricsPage) families() []*dto.MetricFamily {
	return slices.DeleteFunc(p.order, func(f *dto.MetricFamily) bool { return len(f.GetMetric()) == 0 })
}

// beside leaves out what a driver named as the host names its own: vendor and name of one can be chosen so.
func (p *metricsPage) beside(own []*dto.MetricFamily) []*dto.MetricFamily {
	return slices.DeleteFunc(own, func(f *dto.MetricFamily) bool {
		return slices.ContainsFunc(instrument.Names(f), func(n string) bool { return p.taken[n] })
	})
}

// add puts a series on the page.
func (p *metricsPage) add(name string, m *dto.Metric) {
	p.by[name].Metric = append(p.by[name].Metric, m)
}

func (p *metricsPage) counter(name string, value float64, labels []*dto.LabelPair) {
	p.add(name, &dto.Metric{Label: labels, Counter: &dto.Counter{Value: &value}})
}

func (p *metricsPage) gauge(name string, value float64, labels []*dto.LabelPair) {
	p.add(name, &dto.Metric{Label: labels, Gauge: &dto.Gauge{Value: &value}})
}

// states are those that an instance can be in.
func states() []host.State {
	return []host.State{
		host.StateStarting, host.StateRunning, host.StateBackingOff, host.StateCrashLoop, host.StateStopped,
	}
}

// instance puts an instance on the page.
func (p *metricsPage) instance(i *host.Instance, labels []*dto.LabelPair) {
	now := i.State()
	for _, s := range states() {
		value := 0.0
		if s == now {
			value = 1
		}
		p.gauge(stateName, value, with(labels, "state", string(s)))
	}
	p.counter(restartsName, float64(i.Restarts()), labels)
	used := i.Usage()
	if used.MemoryBytes > 0 {
		p.gauge(memoryName, float64(used.MemoryBytes), labels)
	}
	if used.CPU > 0 {
		p.counter(cpuName, used.CPU.Seconds(), labels)
	}
	own := i.Own()
	p.gauge(seriesName, float64(own.Reading.Series), labels)
	p.gauge(refusedName, float64(len(own.Reading.Refused)), labels)
	p.counter(failuresName, float64(own.Failures), labels)
	p.calls(i.Meter().Figures(), labels)
}

// calls puts what an instance was called on the page.
func (p *metricsPage) calls(f meter.Figures, labels []*dto.LabelPair) {
	p.gauge(waitingName, float64(f.Waiting), labels)
	for _, m := range f.Methods {
		labels := with(labels, "method", m.Name)
		p.gauge(inFlightName, float64(m.InFlight), labels)
		for _, outcome := range slices.Sorted(maps.Keys(m.Calls)) {
			p.counter(callsName, float64(m.Calls[outcome]), with(labels, "class", string(outcome)))
		}
		p.add(callSecondName, &dto.Metric{Label: labels, Histogram: histogram(&m.Took)})
	}
}

func histogram(h *meter.Histogram) *dto.Histogram {
	sum, count := h.Sum.Seconds(), h.Count()
	shown := &dto.Histogram{SampleSum: &sum, SampleCount: &count}
	before := uint64(0)
	for i, bound := range meter.Bounds() {
		before += h.Counts[i]
		until, n := bound.Seconds(), before
		shown.Bucket = append(shown.Bucket, &dto.Bucket{UpperBound: &until, CumulativeCount: &n})
	}
	return shown
}

// with is labels and one more, in order.
func with(labels []*dto.LabelPair, name, value string) []*dto.LabelPair {
	return instrument.Labels(slices.Concat(labels, []*dto.LabelPair{instrument.Label(name, value)})...)
}
