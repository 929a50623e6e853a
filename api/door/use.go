package door

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// CodePolicyDenied is of what a policy does not allow, CodeRoleNeeded of what a driver asks a higher role for.
const (
	CodePolicyDenied = "policy-denied"
	CodeRoleNeeded   = "role-needed"
)

// mostAtOnce is how many policies or drivers are read at once.
const mostAtOnce = 1000

// driverUse is one use of a driver that a request comes to, and where the request says so.
type driverUse struct {
	product  string
	action   string
	property string
	// scope of the property.
	scope   string
	pointer string
	// categories are those that a version itself says which is installed: its product may not serve them yet.
	categories []string
	// chosen is unset when the driver is one of several that could be chosen.
	chosen bool
}

// uses are all uses that a request comes to.
type uses struct {
	door *Door
	role resources.Role
	book *book
	list []driverUse
}

// mayUse fails unless the policies, and the drivers themselves, allow what a submission comes to: once, before it is
// handed to the engine. What is not there the engine answers for.
func (d *Door) mayUse(ctx context.Context, g Grant, s resources.Submission) error {
	if s.Target.Kind == resources.KindPolicy { // or nobody could take back a rule
		return nil
	}
	b, err := d.readBook(ctx)
	if err != nil || b.empty() {
		return err
	}
	r, before := s.Resource, resources.Resource(nil)
	if s.Action != "create" || r == nil {
		before, _, err = d.reader.Get(ctx, s.Target)
		if resources.ClassOf(err) == resources.ClassNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		r = cmp.Or(r, before)
	}
	u := &uses{door: d, role: g.principal.role, book: b}
	if err := u.collect(ctx, g.permission, s, r, before); err != nil {
		return err
	}
	return u.judge()
}

// collect lists the uses of a submission.
func (u *uses) collect(
	ctx context.Context, p Permission, s resources.Submission, r, before resources.Resource,
) error {
	products, pointer, chosen, err := u.actors(ctx, r)
	if err != nil {
		return err
	}
	verbs := []string{s.Action}
	if p.Verb != s.Action && p.Verb != verbPlan {
		verbs = append(verbs, p.Verb) // to forget is to delete, too
	}
	for _, product := range products {
		for _, verb := range verbs {
			one := driverUse{
				product: product, action: string(s.Target.Kind) + "/" + verb, pointer: pointer, chosen: chosen,
				categories: saidBy(r),
			}
			u.list = append(u.list, one)
			one.scope = string(resources.OperationScope(s.Target.Kind, s.Action))
			for _, key := range slices.Sorted(maps.Keys(s.Arguments.Properties)) {
				one.property, one.pointer = key, "/properties/"+key
				u.list = append(u.list, one)
			}
		}
		if s.Resource != nil {
			u.settings(product, s, before, chosen)
		}
	}
	u.controlled(s, r, before)
	return u.implied(ctx, s, r)
}

// settings are the uses of those properties that the submission gives a value, or another one, or takes it away.
func (u *uses) settings(product string, s resources.Submission, before resources.Resource, chosen bool) {
	had, has := placed(before), placed(s.Resource)
	for _, at := range slices.Sorted(maps.Keys(union(had, has))) {
		was, is := had[at], has[at]
		if at != "" && was.Product != is.Product { // of another driver they mean something else
			u.set(product, s, was, resources.Settings{}, chosen)
			was = resources.Settings{}
		}
		u.set(product, s, was, is, chosen)
	}
}

// set are the uses of the properties in one place whose values are not the same.
func (u *uses) set(product string, s resources.Submission, was, is resources.Settings, chosen bool) {
	where := is
	if len(is.Values) == 0 {
		where = was
	}
	for _, key := range changed(was.Values, is.Values) {
		one := driverUse{
			product: product, action: string(s.Target.Kind) + "/" + s.Action, property: key, chosen: chosen,
			scope: string(where.Scope), pointer: where.Pointer(key), categories: saidBy(s.Resource),
		}
		if where.At != "" { // it has a driver of its own
			one.product, one.chosen = where.Product, true
		}
		u.list = append(u.list, one)
	}
}

// controlled are the uses of the driver of a host's controller: when it is asked something, and when it is named or
// given up.
func (u *uses) controlled(s resources.Submission, r, before resources.Resource) {
	if s.Target.Kind != resources.KindHost {
		return
	}
	was, is := controllerOf(before), controllerOf(r)
	var products []string
	switch {
	case slices.Contains(asksController(), s.Action):
		products = []string{is}
	case s.Resource != nil && was != is:
		products = []string{was, is}
	}
	for _, product := range products {
		if product != "" {
			u.list = append(u.list, driverUse{
				product: product, action: string(s.Target.Kind) + "/" + s.Action, chosen: true,
				pointer: pointerOf(s, "/spec/outOfBand/driver"),
			})
		}
	}
}

// pointerOf is where a submission says something, if it is of what is asked for at all.
func pointerOf(s resources.Submission, pointer string) string {
	if s.Resource == nil {
		return ""
	}
	return pointer
}

// controllerOf is the product that controls the power of a host; "" = there is none.
func controllerOf(r resources.Resource) string {
	if h, ok := r.(*resources.Host); ok && h.Spec.OutOfBand != nil {
		return h.Spec.OutOfBand.Driver
	}
	return ""
}

// asksController lists the actions on hosts for which their controllers are asked.
func asksController() []string { return []string{"power-status", "power-on", "power-off", "fence"} }

// saidBy are the categories that the record of a driver says.
func saidBy(r resources.Resource) []string {
	if d, ok := r.(*resources.Driver); ok {
		return d.Spec.Categories
	}
	return nil
}

// placed are the settings of a resource by their place in it. Of several in one place the last are those asked for.
func placed(r resources.Resource) map[string]resources.Settings {
	all := map[string]resources.Settings{}
	for _, s := range resources.SettingsOf(r) {
		all[s.At] = s
	}
	return all
}

func union[V any](a, b map[string]V) map[string]V {
	both := make(map[string]V, len(a)+len(b))
	maps.Copy(both, a)
	maps.Copy(both, b)
	return both
}

// changed are the keys whose values are not the same, or are in one of the two alone.
func changed(had, has map[string]any) (keys []string) {
	for key, now := range union(had, has) {
		was, there := had[key]
		_, stays := has[key]
		if there != stays || !reflect.DeepEqual(was, now) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// actors tells which drivers act for a resource, and which field of a new one would say so. Chosen is unset if the zone
// will choose among them.
func (u *uses) actors(ctx context.Context, r resources.Resource) (
	products []string, pointer string, chosen bool, err error,
) {
	switch r := r.(type) {
	case *resources.Driver:
		return []string{r.Spec.Product}, "", true, nil
	case *resources.Host:
		return []string{r.Spec.Driver}, "/spec/driver", true, nil
	case *resources.Pool:
		return []string{r.Spec.Driver}, "/spec/driver", true, nil
	case *resources.ImageStore:
		return []string{r.Spec.Driver}, "/spec/driver", true, nil
	case *resources.Network:
		return []string{r.Spec.Driver}, "/spec/driver", true, nil
	}
	ref, category, pointer := below(r)
	if ref.Kind == "" {
		return nil, "", true, nil
	}
	if ref.ID == "" {
		return u.book.serving(category), pointer, false, nil
	}
	on, _, err := u.door.reader.Get(ctx, ref)
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil, "", true, nil
	}
	if err != nil {
		return nil, "", false, err
	}
	products, _, chosen, err = u.actors(ctx, on)
	return products, pointer, chosen, err
}

// below is what a resource is in or on, whose driver acts for it; without an id if that is not chosen yet.
func below(r resources.Resource) (ref resources.Ref, category, pointer string) {
	switch r := r.(type) {
	case *resources.Volume:
		return resources.Ref{Kind: resources.KindPool, ID: string(cmp.Or(r.Status.PoolID, r.Spec.PoolID))}, "storage",
			"/spec/poolId"
	case *resources.Snapshot:
		return resources.Ref{Kind: resources.KindVolume, ID: string(r.Spec.VolumeID)}, "storage", "/spec/volumeId"
	case *resources.Template:
		return resources.Ref{Kind: resources.KindImageStore, ID: string(r.Spec.ImageStoreID)}, "image", "/spec/imageStoreId"
	case *resources.Address:
		return resources.Ref{Kind: resources.KindNetwork, ID: string(r.Spec.NetworkID)}, "network", "/spec/networkId"
	case *resources.Rule:
		return resources.Ref{Kind: resources.KindNetwork, ID: string(r.Spec.NetworkID)}, "network", "/spec/networkId"
	case *resources.Nic:
		return resources.Ref{Kind: resources.KindNetwork, ID: string(r.Spec.NetworkID)}, "network", "/spec/networkId"
	case *resources.Machine:
		return resources.Ref{
			Kind: resources.KindHost, ID: string(cmp.Or(r.Status.HostID, r.Spec.Placement.HostID)),
		}, "hypervisor", "/spec/placement/hostId"
	case *resources.Swap:
		return resources.Ref{Kind: resources.KindDriver, ID: string(r.Spec.To)}, "", "/spec/to"
	}
	return resources.Ref{}, "", ""
}

// implied are the uses of what an action on a machine has done below itself: who may not make a volume somewhere may
// not have it made there by a machine either.
func (u *uses) implied(ctx context.Context, s resources.Submission, r resources.Resource) error {
	m, ok := r.(*resources.Machine)
	if !ok {
		return nil
	}
	switch s.Action {
	case "create":
		return u.deployed(ctx, m)
	case "attach-nic":
		if s.Arguments.Nic != nil {
			return u.connected(ctx, "/nic/networkId", *s.Arguments.Nic)
		}
	case "grow-volume":
		return u.onVolume(ctx, "volume/grow", "/volumeId", s.Arguments.VolumeID)
	case "snapshot":
		for _, id := range append([]resources.VolumeID{m.Status.RootVolumeID}, m.Spec.Volumes...) {
			if err := u.onVolume(ctx, "snapshot/create", "", id); err != nil {
				return err
			}
		}
	}
	return nil
}

// deployed are the uses of a new machine beside that of its hypervisor.
func (u *uses) deployed(ctx context.Context, m *resources.Machine) error {
	if root := m.Spec.Root; root != nil {
		disk := &resources.Volume{Spec: resources.VolumeSpec{PoolID: root.PoolID}}
		if err := u.onPart(ctx, "volume/create", "/spec/root/poolId", disk); err != nil {
			return err
		}
	}
	for i, n := range m.Spec.Nics {
		if err := u.connected(ctx, fmt.Sprintf("/spec/nics/%d/networkId", i), n); err != nil {
			return err
		}
	}
	return nil
}

func (u *uses) connected(ctx context.Context, pointer string, n resources.MachineNic) error {
	return u.onPart(ctx, "nic/create", pointer, &resources.Nic{Spec: resources.NicSpec{NetworkID: n.NetworkID}})
}

func (u *uses) onVolume(ctx context.Context, action, pointer string, id resources.VolumeID) error {
	if id == "" {
		return nil
	}
	v, _, err := u.door.reader.Get(ctx, resources.Ref{Kind: resources.KindVolume, ID: string(id)})
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return u.onPart(ctx, action, pointer, v)
}

func (u *uses) onPart(ctx context.Context, action, pointer string, part resources.Resource) error {
	products, _, chosen, err := u.actors(ctx, part)
	for _, product := range products {
		u.list = append(u.list, driverUse{product: product, action: action, pointer: pointer, chosen: chosen})
	}
	return err
}
