package meter

import "time"

// HistogramOf makes one of calls that took so many nanoseconds.
func HistogramOf(took []int64) (h Histogram) {
	for _, one := range took {
		h.add(time.Duration(one))
	}
	return h
}
