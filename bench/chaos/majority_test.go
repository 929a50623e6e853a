package main

import "testing"

func TestMajority(t *testing.T) {
	between := func(a, b int) damage { return damageOf(step{What: cutBetween}, a, b, 3) }
	of := func(what string, node int) damage { return damageOf(step{What: what}, node, (node+1)%3, 3) }
	for name, c := range map[string]struct {
		all  []damage
		want bool
	}{
		"all is well":             {nil, true},
		"one is cut off":          {[]damage{of(cutOff, 0)}, true},
		"two are cut off":         {[]damage{of(cutOff, 0), of(cutDeaf, 1)}, false},
		"one way in a ring":       {[]damage{between(0, 1), between(1, 2)}, true},
		"the whole ring":          {[]damage{between(0, 1), between(1, 2), between(2, 0)}, false},
		"one killed, one paused":  {[]damage{of(killNode, 0), of(pauseNode, 1)}, false},
		"one killed and cut off":  {[]damage{of(killNode, 0), of(cutOff, 0)}, true},
		"all are killed":          {[]damage{of(killAll, 1)}, false},
		"packets lost, disk slow": {[]damage{of(loss, 0), of(diskSlow, 1), of(slowLink, 2)}, true},
	} {
		if got := majority(3, c.all); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
