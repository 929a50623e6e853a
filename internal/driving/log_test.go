package driving_test

import (
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/driving"
)

func TestLastLines(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		most int
		want []string
	}{
		"nothing":         {"", 5, nil},
		"fewer":           {"one\ntwo\n", 5, []string{"one", "two"}},
		"as many":         {"one\ntwo\n", 2, []string{"one", "two"}},
		"more":            {"one\ntwo\nthree\n", 2, []string{"two", "three"}},
		"not ended":       {"one\ntwo", 1, []string{"two"}},
		"empty ones":      {"one\n\n\n", 2, []string{"", ""}},
		"none asked for":  {"one\n", 0, nil},
		"an empty line":   {"\n", 5, []string{""}},
		"fewer than none": {"one\n", -1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := driving.LastLines(c.text, c.most); got == nil || !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
