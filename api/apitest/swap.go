package apitest

import (
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// planned notes what a swap that was made comes to: SwapPlan, from the current version of the product. The caller holds
// the lock.
func (z *Zone) planned(s *resources.Swap) {
	plan := z.SwapPlan
	plan.NoReturn = "commit"
	s.Status.Plan, s.Status.Left = plan, 0
	for _, n := range plan.Resources {
		s.Status.Left += n
	}
	to, there := z.state[resources.Ref{Kind: resources.KindDriver, ID: string(s.Spec.To)}].(*resources.Driver)
	if !there {
		return
	}
	s.Status.Product, s.Status.ToVersion = to.Spec.Product, to.Spec.Version
	for _, d := range z.versionsOf(to.Spec.Product) {
		if named := s.Spec.From != ""; named && string(s.Spec.From) == d.ID || !named && d.Spec.Current {
			s.Spec.From, s.Status.FromVersion = resources.DriverID(d.ID), d.Spec.Version
		}
	}
}

// versionsOf lists the versions of a product. The caller holds the lock.
func (z *Zone) versionsOf(product string) (all []*resources.Driver) {
	for _, ref := range z.inOrder() {
		if d, ok := z.state[ref].(*resources.Driver); ok && d.Spec.Product == product {
			all = append(all, d)
		}
	}
	return all
}

// refused says why a swap can't begin: nobody accepted what it wants to be allowed.
func refused(r resources.Resource, action string) error {
	s, ok := r.(*resources.Swap)
	if !ok || action != "start" || len(s.Status.Plan.PermissionsAdded) == 0 || s.Spec.AcceptPermissions {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "bad-swap", Message: "the swap makes no sense: acceptPermissions is not given",
		Remedy: "plan another swap with acceptPermissions", Fields: []resources.FieldError{
			{Pointer: "/spec/acceptPermissions", Code: "not-accepted", Message: "is not given"},
		},
	}
}

// swapped has all resources of a swap go to the version that acts then. The caller holds the lock.
func (z *Zone) swapped(s *resources.Swap, action string) {
	n := s.Status.Left + s.Status.Moved
	switch action {
	case "create":
		z.planned(s)
	case "start":
		s.Status.Moved, s.Status.Left, s.Status.MadeCurrent = n, 0, s.Spec.Scope.IsAll()
	case "roll-back":
		s.Status.Moved, s.Status.Left, s.Status.MadeCurrent = 0, n, false
	}
}
