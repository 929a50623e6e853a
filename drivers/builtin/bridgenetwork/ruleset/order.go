package ruleset

import "cmp"

// Compare orders rules the way an edge asks them: by priority, the lower first; of one priority what denies, then what
// allows, then forwards. So a forward opens what it leads to, and who denies that without a word about priorities
// means the forward, too. The id decides the rest, for the same rules to give the same filter.
func Compare(a, b Rule) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.ID, b.ID))
}

func (r Rule) rank() int {
	switch {
	case !r.Allow:
		return 0
	case r.Kind != Forward:
		return 1
	}
	return 2
}
