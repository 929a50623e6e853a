package persistence_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestAListHasWhatMatches compares lists, page by page, with a look at every resource.
func TestAListHasWhatMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := newZone(t)
		z.must(z.create(pool("pool-0", 1<<30), true))
		z.must(z.create(pool("pool-1", 1<<30), true))
		var all []*resources.Volume
		for i := range rapid.IntRange(0, 30).Draw(t, "volumes") {
			vol := volume(fmt.Sprintf("vol-%02d", i), rapid.SampledFrom([]string{"pool-0", "pool-1"}).Draw(t, "pool"))
			vol.Labels = map[string]string{
				"a": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "a"), "b": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "b"),
			}
			z.must(z.create(vol, rapid.Bool().Draw(t, "ready")))
		}
		for i := range rapid.IntRange(0, 10).Draw(t, "updates") {
			ref := resources.Ref{Kind: resources.KindVolume, ID: fmt.Sprintf("vol-%02d", i)}
			z.apply(relabel(z, ref, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "label")))
		}
		z.view(func(v *persistence.View) error {
			return v.Each(resources.KindVolume, nil, func(r resources.Resource) bool {
				all = append(all, r.(*resources.Volume))
				return true
			})
		})
		q := resources.Query{Kind: resources.KindVolume, Limit: rapid.IntRange(1, 7).Draw(t, "limit")}
		if rapid.Bool().Draw(t, "by pool") {
			q.Facets = map[string]string{"pool": "pool-0"}
		}
		q.Labels = rapid.SampledFrom([]map[string]string{nil, {"a": "x"}, {"b": "y"}, {"a": "y", "b": "x"}}).Draw(t, "labels")
		q.Phases = rapid.SampledFrom([][]resources.Phase{
			nil, {resources.PhaseReady}, {resources.PhasePending}, {resources.PhaseReady, resources.PhasePending},
		}).Draw(t, "phases")
		var want []string
		for _, vol := range all {
			if matches(vol, q) {
				want = append(want, vol.ID)
			}
		}
		q.Order = rapid.SampledFrom([]resources.Order{"", resources.OrderOldest, resources.OrderNewest}).Draw(t, "order")
		if q.Order == resources.OrderNewest {
			slices.Reverse(want)
		}
		if got := pages(z, q); !slices.Equal(got, want) {
			t.Errorf("%+v: got %v, want %v", q, got, want)
		}
		z.check()
	})
}

// relabel changes a volume's label "a".
func relabel(z *zone, ref resources.Ref, value string) persistence.Command {
	cmd := &persistence.Commit{Fence: z.fence(ref)}
	z.view(func(v *persistence.View) error {
		r, err := v.Get(ref)
		if resources.ClassOf(err) == resources.ClassNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		cmd.BaseRevision = r.Metadata().Revision
		r.Metadata().Labels["a"] = value
		cmd.Resource = z.seal(r)
		return nil
	})
	return cmd
}

func matches(vol *resources.Volume, q resources.Query) bool {
	for k, value := range q.Labels {
		if vol.Labels[k] != value {
			return false
		}
	}
	if pool, ok := q.Facets["pool"]; ok && vol.Facets()["pool"] != pool {
		return false
	}
	return len(q.Phases) == 0 || slices.Contains(q.Phases, vol.Phase)
}

// pages reads a list to its end.
func pages(z *zone, q resources.Query) (ids []string) {
	for {
		var page resources.Page
		z.view(func(v *persistence.View) (err error) {
			page, err = v.List(q)
			return err
		})
		for _, r := range page.Items {
			ids = append(ids, r.Metadata().ID)
		}
		if page.Next == "" {
			return ids
		}
		if page.Next == q.After {
			z.t.Fatalf("the page after %s ends with it", q.After)
		}
		q.After = page.Next
	}
}

// TestTheAuditLogIsReadFromEitherEnd pages through it in both orders.
func TestTheAuditLogIsReadFromEitherEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := newZone(t)
		n := rapid.IntRange(0, 12).Draw(t, "lines")
		for i := range n {
			z.must(z.create(pool(fmt.Sprintf("pool-%02d", i), 1<<30), true))
		}
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		oldest, newest := auditLog(z, resources.OrderOldest, limit), auditLog(z, resources.OrderNewest, limit)
		if len(oldest) < n || !slices.IsSortedFunc(oldest, func(a, b resources.Position) int {
			if b.After(a) {
				return -1
			}
			return 1
		}) {
			t.Errorf("got %v of %d lines, the oldest first", oldest, n)
		}
		if slices.Reverse(newest); !slices.Equal(newest, oldest) {
			t.Errorf("from the end there are %v, from the beginning %v", newest, oldest)
		}
	})
}

func auditLog(z *zone, order resources.Order, limit int) (positions []resources.Position) {
	var after resources.Position
	for {
		var lines []resources.Audit
		z.view(func(v *persistence.View) (err error) {
			lines, err = v.AuditLog(after, order, limit)
			return err
		})
		for _, l := range lines {
			after = l.Position
			positions = append(positions, after)
		}
		if len(lines) < limit {
			return positions
		}
	}
}
