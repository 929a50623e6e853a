package persistence

import (
	"bytes"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	defaultPage = 100
	// MaxPage bounds a page of a list.
	MaxPage = 1000
)

// List returns one page of resources. It scans one index that the query names,
// whose keys tell of the others; resources are only decoded once they are almost
// sure to match.
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
	err = v.scan(q, tests, func(r resources.Resource) (bool, error) {
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
	passed := q.After != "" && (m.ID == q.After || (m.ID < q.After) == (q.Order != resources.OrderNewest))
	if passed || len(q.Phases) > 0 && !slices.Contains(q.Phases, m.Phase) {
		return nil
	}
	if passes(r, v.tests(q)) {
		page.Items = append(page.Items, r)
	}
	return nil
}

// tests lists the facets of a query in a fixed order, the phase last.
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

// scan calls fn for the resources of a kind that pass the tests, until it answers
// false. Without tests the records themselves are scanned, else the first index.
// Neither sees what the command that is applied has written so far.
func (v *View) scan(q resources.Query, tests []test, fn func(r resources.Resource) (bool, error)) error {
	prefix, get := prefixOf(familyResource, string(q.Kind)), v.decode
	if len(tests) > 0 {
		prefix = prefixOf(familyFacet, string(q.Kind), tests[0].facet, tests[0].value)
		get = v.candidate(tests)
	}
	var from []byte
	if q.After != "" {
		from = append(slices.Clone(prefix), q.After...)
	}
	walk := v.r.Scan
	if q.Order == resources.OrderNewest {
		walk = v.r.ScanReverse
	}
	return walk(prefix, from, func(k, value []byte) (bool, error) {
		if from != nil && bytes.Equal(k, from) {
			return true, nil // it was the last of the page before
		}
		r, err := get(resources.Ref{Kind: q.Kind, ID: string(k[len(prefix):])}, value)
		if err != nil || r == nil {
			return err == nil, err
		}
		return fn(r)
	})
}

func (v *View) decode(ref resources.Ref, record []byte) (resources.Resource, error) {
	r, err := v.codec.resource(ref.Kind, record)
	if err != nil {
		return nil, err
	}
	return r, v.join(r)
}

// candidate returns a function that gets the resource behind an index key, nil if
// it does not pass the tests.
func (v *View) candidate(tests []test) func(ref resources.Ref, digest []byte) (resources.Resource, error) {
	var marks [][]byte
	var phase resources.Phase
	for i, t := range tests {
		switch {
		case t.facet != facetPhase:
			marks = append(marks, t.mark())
		case i > 0: // else it is its index that is scanned
			phase = resources.Phase(t.value)
		}
	}
	return func(ref resources.Ref, digest []byte) (resources.Resource, error) {
		if !marked(digest, marks) {
			return nil, nil
		}
		if phase != "" {
			_, is, err := v.r.Get(facetKey(ref.Kind, facetPhase, string(phase), ref.ID))
			if err != nil || !is {
				return nil, err
			}
		}
		r, err := v.Get(ref)
		if err != nil || !passes(r, tests) {
			return nil, err
		}
		return r, nil
	}
}

func passes(r resources.Resource, tests []test) bool {
	m, facets := r.Metadata(), r.Facets()
	for _, t := range tests {
		value, ok := facets[t.facet]
		if label, is := strings.CutPrefix(t.facet, facetLabel); is && !ok {
			value, ok = m.Labels[label]
		}
		if t.facet == facetPhase {
			value, ok = string(m.Phase), true
		}
		if !ok || value != t.value {
			return false
		}
	}
	return true
}

// Each calls fn for every resource of a kind that has all the facets given,
// until it answers false.
func (v *View) Each(kind resources.Kind, facets map[string]string, fn func(r resources.Resource) bool) error {
	q := resources.Query{Kind: kind, Facets: facets}
	return v.scan(q, v.tests(q), func(r resources.Resource) (bool, error) { return fn(r), nil })
}
