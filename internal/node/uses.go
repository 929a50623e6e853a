package node

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// countedQuickly is how long a count may take that is made anew for each who asks.
	countedQuickly = 10 * time.Millisecond
	// countRest is how many times as long as it took a count is good for.
	countRest = 20
)

// uses counts what versions of drivers act for. To count is to read all of that, and there may be millions: what took
// long is remembered for a while, so that those who ask again and again keep one processor busy for a twentieth of the
// time at most. Safe for concurrent use.
type uses struct {
	count func(d *resources.Driver) ([]resources.BoundCount, error)

	mu sync.Mutex
	by map[string]*counted // by id of the driver
}

// counted is a count, which one at a time makes.
type counted struct {
	turn  chan struct{} // holds one while somebody counts
	found []resources.BoundCount
	until time.Time
}

func newUses(m *persistence.Machine) *uses {
	return &uses{
		count: func(d *resources.Driver) ([]resources.BoundCount, error) { return countUses(m, d) },
		by:    map[string]*counted{},
	}
}

// of says what a version acts for, by kind and node. The answer must not be changed.
func (u *uses) of(d *resources.Driver) ([]resources.BoundCount, error) {
	u.mu.Lock()
	one := u.by[d.ID]
	if one == nil {
		one = &counted{turn: make(chan struct{}, 1)}
		u.by[d.ID] = one
	}
	u.mu.Unlock()
	one.turn <- struct{}{}
	defer func() { <-one.turn }()
	began := time.Now()
	if began.Before(one.until) {
		return one.found, nil
	}
	found, err := u.count(d)
	if err != nil {
		return nil, err
	}
	one.found = found
	if took := time.Since(began); took > countedQuickly {
		one.until = time.Now().Add(countRest * took)
	}
	return found, nil
}

// total is how many resources a version acts for.
func (u *uses) total(d *resources.Driver) (n int, err error) {
	found, err := u.of(d)
	for _, one := range found {
		n += one.Count
	}
	return n, err
}

// countUses counts what a version acts for, by kind and node.
func countUses(m *persistence.Machine, d *resources.Driver) ([]resources.BoundCount, error) {
	type place struct {
		kind resources.Kind
		node string
	}
	counts := map[place]int{}
	err := m.View(func(v *persistence.View) error {
		refs, err := v.BoundTo(d)
		for _, ref := range refs {
			if !slices.Contains(resources.Bindable(), ref.Kind) { // there are many, and they are where that is
				counts[place{kind: ref.Kind}]++
				continue
			}
			r, failed := v.Get(ref)
			if failed != nil {
				continue // it goes just now
			}
			counts[place{ref.Kind, operations.PlaceOf(r).Node}]++
		}
		return err
	})
	var list []resources.BoundCount
	vocabulary := resources.NewVocabulary()
	for p, n := range counts {
		one := resources.BoundCount{Kind: p.kind, Node: p.node, Count: n}
		if slices.Contains(resources.Bindable(), p.kind) { // others are asked for by what they stand on
			one.List = "/v1/" + vocabulary[p.kind].Plural + filters(d, p.kind, p.node)
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b resources.BoundCount) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Node, b.Node))
	})
	return list, err
}

// filters are those of a list that a product acts for.
func filters(d *resources.Driver, kind resources.Kind, node string) string {
	given := url.Values{"driver": {d.Spec.Product}}
	if kind == resources.KindHost && node != "" { // only hosts can be asked for by node
		given.Set("node", node)
	}
	return "?" + given.Encode()
}
