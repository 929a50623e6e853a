package instrument

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Prefix is what the host puts before the names of a driver's metrics: of acme/fast-disk it is
// "bulkhead_driver_acme_fast_disk_".
func Prefix(product string) string {
	return "bulkhead_driver_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, product) + "_"
}

// Under returns the metrics of a reading as the host shows them: with a prefix and labels. The reading stays as it is.
func (r Reading) Under(prefix string, labels ...*dto.LabelPair) []*dto.MetricFamily {
	families := make([]*dto.MetricFamily, 0, len(r.Families))
	for _, f := range r.Families {
		name, help := prefix+f.GetName(), f.GetHelp()
		shown := &dto.MetricFamily{Name: &name, Help: &help, Type: f.Type}
		for _, m := range f.GetMetric() {
			shown.Metric = append(shown.Metric, &dto.Metric{
				Label: Labels(slices.Concat(labels, m.GetLabel())...), Counter: m.Counter, Gauge: m.Gauge, Histogram: m.Histogram,
			})
		}
		families = append(families, shown)
	}
	return families
}

// Labels puts labels in the order that the format asks for.
func Labels(labels ...*dto.LabelPair) []*dto.LabelPair {
	slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return labels
}

// Label makes one.
func Label(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }
