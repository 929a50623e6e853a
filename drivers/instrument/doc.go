// Package instrument reads what a driver counts itself: metrics in the Prometheus text exposition format, as its
// Metrics call returns them. A driver may be hostile, so nothing of it is believed: how much there is, how it is named
// and which values it has is bounded, and what breaks a rule is left out and named. What is left fits on the page of a
// node beside the metrics of others. The package must never know where the text comes from or who reads the result.
package instrument
