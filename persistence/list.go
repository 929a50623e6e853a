package persistence

import (
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	defaultPage = 100
	// MaxPage bounds a page of a list.
	MaxPage = 1000
)

// List returns one page of resources. It reads the narrowest index that the
// query names and tests the others key by key; resources are only decoded once
// they are known to match.
func (v *View) List(q resources.Query) (resources.Page, error) {
	revision, err := v.Applied()
	if err != nil {
		return resources.Page{}, err
	}
	page := resources.Page{Revision: revision, Items: []resources.Resource{}}
	limit := pageLimit(q.Limit)
	if q.Name != "" {
		return page, v.listByName(q, &page)
	}
	tests := v.tests(q)
	err = v.scanIDs(q, tests, func(id string) (bool, error) {
		r, err := v.Get(resources.Ref{Kind: q.Kind, ID: id})
		if err != nil {
			return false, err
		}
		if len(q.Phases) > 0 && !slices.Contains(q.Phases, r.Metadata().Phase) {
			return true, nil
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Metadata().ID
			return false, nil
		}
		page.Items = append(page.Items, r)
		return true, nil
	})
	return page, err
}

func pageLimit(asked int) int {
	if asked <= 0 {
		return defaultPage
	}
	return min(asked, MaxPage)
}

func (v *View) listByName(q resources.Query, page *resources.Page) error {
	r, err := v.ByName(q.Kind, q.Name)
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	m := r.Metadata()
	if m.ID <= q.After || len(q.Phases) > 0 && !slices.Contains(q.Phases, m.Phase) {
		return nil
	}
	match, err := v.passes(q.Kind, m.ID, v.tests(q))
	if match {
		page.Items = append(page.Items, r)
	}
	return err
}

// test is one facet and the value it must have.
type test struct{ facet, value string }

// tests lists the facets of a query in a fixed order, the narrow ones first.
func (v *View) tests(q resources.Query) []test {
	var list []test
	for facet, value := range q.Facets {
		list = append(list, test{facet, value})
	}
	for label, value := range q.Labels {
		list = append(list, test{facetLabel + label, value})
	}
	slices.SortFunc(list, func(a, b test) int {
		if a.facet < b.facet {
			return -1
		}
		return 1
	})
	if len(q.Phases) == 1 {
		list = append(list, test{facetPhase, string(q.Phases[0])})
	}
	return list
}

func (v *View) scanIDs(q resources.Query, tests []test, fn func(id string) (bool, error)) error {
	prefix := prefixOf(familyResource, string(q.Kind))
	if len(tests) > 0 {
		prefix = prefixOf(familyFacet, string(q.Kind), tests[0].facet, tests[0].value)
		tests = tests[1:]
	}
	var from []byte
	if q.After != "" {
		from = append(append(slices.Clone(prefix), q.After...), 0)
	}
	return v.r.Scan(prefix, from, func(k, _ []byte) (bool, error) {
		id := string(k[len(prefix):])
		match, err := v.passes(q.Kind, id, tests)
		if err != nil || !match {
			return err == nil, err
		}
		return fn(id)
	})
}

func (v *View) passes(kind resources.Kind, id string, tests []test) (bool, error) {
	for _, t := range tests {
		_, ok, err := v.r.Get(facetKey(kind, t.facet, t.value, id))
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// Each calls fn for every resource of a kind that has all the facets given,
// until it answers false.
func (v *View) Each(kind resources.Kind, facets map[string]string, fn func(r resources.Resource) bool) error {
	q := resources.Query{Kind: kind, Facets: facets}
	return v.scanIDs(q, v.tests(q), func(id string) (bool, error) {
		r, err := v.Get(resources.Ref{Kind: kind, ID: id})
		if err != nil {
			return false, err
		}
		return fn(r), nil
	})
}
