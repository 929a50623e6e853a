package node

import (
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// estate says what there is.
func (r *recovery) estate() (e Estate, err error) {
	e.Applied = r.machine.AppliedIndex()
	if e.Testimony, err = r.survivor.Testify(); err != nil {
		return e, err
	}
	voters, votes := 0, false
	for _, m := range e.Members {
		if m.Voter {
			voters++
		}
		if m.ID == r.member.Name {
			votes = m.Voter
			continue
		}
		e.Lost = append(e.Lost, m.ID)
	}
	if votes && voters == 1 {
		e.Lost = nil // it can agree by itself
	}
	err = r.machine.View(func(v *persistence.View) error {
		e.Stranded, err = stranded(v, e.Lost)
		return err
	})
	return e, err
}

// stranded counts what is on lost nodes.
func stranded(v *persistence.View, lost []string) ([]Stranded, error) {
	founder := ""
	for _, name := range lost {
		_, admitted, err := v.Member(persistence.RoleNode, name)
		if err != nil {
			return nil, err
		}
		if !admitted {
			founder = name
		}
	}
	count := map[Stranded]int{}
	for _, kind := range []resources.Kind{
		resources.KindHost, resources.KindPool, resources.KindNetwork, resources.KindImageStore,
	} {
		err := eachOf(v, kind, func(r resources.Resource) error {
			count[Stranded{Node: orElse(operations.PlaceOf(r).Node, founder), Kind: kind}]++
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var list []Stranded
	for s, n := range count {
		if slices.Contains(lost, s.Node) {
			s.Count = n
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b Stranded) int {
		return strings.Compare(a.Node+" "+string(a.Kind), b.Node+" "+string(b.Kind))
	})
	return list, nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
