package door

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// book is what decides on uses: the policies, in order, and what drivers ask for themselves.
type book struct {
	at       [2]uint64 // changes of policies and drivers before it was read
	rules    []*resources.Policy
	products map[string]*asking
}

// asking is what the versions of a product ask for: the most that any of them does.
type asking struct {
	categories []string
	enabled    bool
	actions    map[string]resources.Role
	properties map[[2]string]resources.Role
}

// readBook returns what decides now. It is read when policies or drivers changed, not for each request.
func (d *Door) readBook(ctx context.Context) (*book, error) {
	at := [2]uint64{d.reader.Changes(resources.KindPolicy), d.reader.Changes(resources.KindDriver)}
	if known := d.book.Load(); known != nil && known.at == at {
		return known, nil
	}
	b, err := d.compileBook(ctx)
	if err != nil {
		return nil, err
	}
	b.at = at
	d.book.Store(b)
	return b, nil
}

func (d *Door) compileBook(ctx context.Context) (*book, error) {
	b := &book{products: map[string]*asking{}}
	err := d.each(ctx, resources.KindPolicy, func(r resources.Resource) {
		if p, ok := r.(*resources.Policy); ok && !p.Suspended {
			b.rules = append(b.rules, p)
		}
	})
	if err == nil {
		err = d.each(ctx, resources.KindDriver, func(r resources.Resource) {
			if driver, ok := r.(*resources.Driver); ok {
				b.note(driver)
			}
		})
	}
	resources.InOrder(b.rules)
	return b, err
}

func (d *Door) each(ctx context.Context, kind resources.Kind, yield func(r resources.Resource)) error {
	q := resources.Query{Kind: kind, Limit: mostAtOnce}
	for {
		page, err := d.reader.List(ctx, q)
		if err != nil {
			return fmt.Errorf("reading who may use what: %w", err)
		}
		for _, r := range page.Items {
			yield(r)
		}
		if q.After = page.Next; q.After == "" {
			return nil
		}
	}
}

func (b *book) note(d *resources.Driver) {
	a := b.products[d.Spec.Product]
	if a == nil {
		a = &asking{actions: map[string]resources.Role{}, properties: map[[2]string]resources.Role{}}
		b.products[d.Spec.Product] = a
	}
	a.enabled = a.enabled || d.Spec.Enabled
	for _, category := range d.Spec.Categories {
		if !slices.Contains(a.categories, category) {
			a.categories = append(a.categories, category)
		}
	}
	for _, asked := range d.Status.Actions {
		if !a.actions[asked.Action].Covers(asked.Role) {
			a.actions[asked.Action] = asked.Role
		}
	}
	for _, p := range d.Status.Properties {
		at := [2]string{p.Scope, p.Key}
		if p.Role != "" && !a.properties[at].Covers(p.Role) {
			a.properties[at] = p.Role
		}
	}
}

// empty reports whether all is allowed that roles are.
func (b *book) empty() bool {
	if len(b.rules) > 0 {
		return false
	}
	for _, a := range b.products {
		if len(a.actions)+len(a.properties) > 0 {
			return false
		}
	}
	return true
}

// serving lists the products that could be chosen in a category.
func (b *book) serving(category string) (products []string) {
	for product, a := range b.products {
		if a.enabled && slices.Contains(a.categories, category) {
			products = append(products, product)
		}
	}
	slices.Sort(products)
	return products
}

// verdict decides on a use; nil = it is allowed. The first rule that is about it counts, and without one what the
// driver asks for itself.
func (b *book) verdict(role resources.Role, one driverUse) *verdict {
	a := b.products[one.product]
	if a == nil {
		a = &asking{}
	}
	rule := resources.PolicyOn(resources.Use{
		Role: role, Product: one.product, Categories: slices.Concat(a.categories, one.categories), Action: one.action,
		Property: one.property,
	}, b.rules)
	switch {
	case rule != nil && rule.Spec.Effect == resources.PolicyDeny:
		return &verdict{rule: rule}
	case rule != nil:
		return nil
	}
	least := a.actions[one.action]
	if one.property != "" {
		least = a.properties[[2]string{one.scope, one.property}]
	}
	if role.Covers(least) {
		return nil
	}
	return &verdict{least: least}
}
