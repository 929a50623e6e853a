package instrument

import (
	"cmp"
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// checkValue says what is wrong with the value of a series.
func checkValue(m *dto.Metric) string {
	switch {
	case m.Counter != nil:
		if v := m.GetCounter().GetValue(); !finite(v) || v < 0 {
			return "a counter is a finite number that is not negative"
		}
	case m.Gauge != nil:
		if !finite(m.GetGauge().GetValue()) {
			return "a gauge is a finite number"
		}
	case m.Histogram != nil:
		return checkHistogram(m.GetHistogram())
	default:
		return "a series has no value"
	}
	return ""
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// largestCount is the largest that a float has next to all those below it: what is larger was none in the text.
const largestCount = 1 << 53

// checkHistogram puts the buckets in order and says what is wrong with them.
func checkHistogram(h *dto.Histogram) string {
	if h.SampleCount == nil || h.SampleSum == nil {
		return "a histogram has a _count and a _sum"
	}
	if !finite(h.GetSampleSum()) || h.GetSampleCount() > largestCount {
		return "_count and _sum of a histogram are finite numbers"
	}
	buckets := h.GetBucket()
	if reason := checkBuckets(buckets); reason != "" {
		return reason
	}
	switch last := len(buckets) - 1; {
	case last < 0 || !math.IsInf(buckets[last].GetUpperBound(), 1):
		return "a histogram has a bucket whose le is +Inf"
	case buckets[last].GetCumulativeCount() != h.GetSampleCount():
		return "the last bucket of a histogram has as many as its _count"
	}
	return ""
}

// checkBuckets puts buckets in the order of their bounds.
func checkBuckets(buckets []*dto.Bucket) string {
	for _, b := range buckets {
		if math.IsNaN(b.GetUpperBound()) || math.IsInf(b.GetUpperBound(), -1) {
			return "the le of a bucket is a number or +Inf"
		}
	}
	slices.SortFunc(buckets, func(a, b *dto.Bucket) int { return cmp.Compare(a.GetUpperBound(), b.GetUpperBound()) })
	for i := 1; i < len(buckets); i++ {
		switch a, b := buckets[i-1], buckets[i]; {
		case a.GetUpperBound() == b.GetUpperBound():
			return "two buckets of a histogram have the same le"
		case a.GetCumulativeCount() > b.GetCumulativeCount():
			return "a bucket of a histogram has fewer than the one before it"
		}
	}
	return ""
}
