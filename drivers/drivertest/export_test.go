package drivertest

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
)

// Cited lists the checks of a harness with what they cite.
func Cited(t *testing.T, h Harness) map[string]report.Sentence {
	t.Helper()
	h.fill()
	all := map[string]report.Sentence{}
	for _, c := range h.checks(h.learnIn(t)) {
		all[c.name] = sentenceOf(c.name)
	}
	return all
}
