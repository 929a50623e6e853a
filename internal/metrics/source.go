package metrics

import (
	"cmp"
	"context"
	"slices"
	"sync"

	dto "github.com/prometheus/client_model/go"
)

// Source says what else is counted, each time that the figures are read. Its families are whole and proper, each for
// itself; of two with one name the first counts, if they are not of one type.
type Source func(ctx context.Context) []*dto.MetricFamily

// sources are those beside the registry.
type sources struct {
	mu  sync.Mutex
	all []Source
}

// Also has the figures of a source served from now on. What has a name of the node's own figures is left out.
func (r *Registry) Also(s Source) {
	r.sources.mu.Lock()
	defer r.sources.mu.Unlock()
	r.sources.all = append(r.sources.all, s)
}

// gather reads all figures.
func (r *Registry) gather() ([]*dto.MetricFamily, error) {
	own, err := r.registry.Gather()
	p := page{by: map[string]*dto.MetricFamily{}, taken: map[string]string{}}
	p.add(own)
	r.sources.mu.Lock()
	all := slices.Clone(r.sources.all)
	r.sources.mu.Unlock()
	for _, source := range all {
		p.add(source(context.Background()))
	}
	slices.SortFunc(p.families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return p.families, err
}

// page is families that do not contradict each other.
type page struct {
	families []*dto.MetricFamily
	by       map[string]*dto.MetricFamily
	taken    map[string]string // which family a series' name belongs to
}

func (p *page) add(families []*dto.MetricFamily) {
	for _, f := range families {
		names := series(f)
		if slices.ContainsFunc(names, func(n string) bool { return p.taken[n] != "" && p.taken[n] != f.GetName() }) {
			continue
		}
		if known := p.by[f.GetName()]; known != nil {
			if known.GetType() == f.GetType() {
				known.Metric = append(known.Metric, f.GetMetric()...)
			}
			continue
		}
		for _, n := range names {
			p.taken[n] = f.GetName()
		}
		p.by[f.GetName()] = f
		p.families = append(p.families, f)
	}
}

// series are the names that the series of a family have.
func series(f *dto.MetricFamily) []string {
	name := f.GetName()
	switch f.GetType() {
	case dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM:
		return []string{name, name + "_bucket", name + "_sum", name + "_count"}
	case dto.MetricType_SUMMARY:
		return []string{name, name + "_sum", name + "_count"}
	default:
		return []string{name}
	}
}
