package main

import (
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

// TestOperationsThatTookTurnsAreFound: small letters are operations, capital ones urgent operations, in the order of
// what they did to one resource.
func TestOperationsThatTookTurnsAreFound(t *testing.T) {
	for order, want := range map[string]int{
		"aabb": 0, "aba": 1, "abab": 2, "aa": 0,
		"aAa": 0, "aAAa": 0, "aABa": 0, "AaA": 1, "aAaA": 1, "ABA": 1, "aAba": 1, "Aab": 0,
	} {
		var effects []simworld.Effect
		did := func(op, id string) {
			effects = append(effects, simworld.Effect{Cause: simworld.Cause{
				Resource: simworld.Ref{Kind: "machine", ID: id}, Call: "Any", Token: op + "/step",
			}})
		}
		for _, op := range order {
			did(string(op), "one")
			did("a", "another")
		}
		urgent := func(op string) bool { return strings.ToUpper(op) == op }
		if got := interleaved(effects, urgent); len(got) != want {
			t.Errorf("%s: %d found, want %d: %v", order, len(got), want, got)
		}
	}
}
