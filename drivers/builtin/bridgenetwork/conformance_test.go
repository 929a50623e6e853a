package bridgenetwork_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// kernel looks for networks and nics past the driver.
type kernel struct{}

// Count implements drivertest.Truth.
func (kernel) Count(t drivertest.T, kind, id string) int {
	t.Helper()
	spaces := netspace.OpenDirectory(netspace.DefaultDirectory)
	names, err := spaces.List()
	if err != nil {
		t.Fatal(err)
	}
	if kind == "network" {
		if slices.Contains(names, layout.NetworkSpace(id)) {
			return 1
		}
		return 0
	}
	count := 0
	for _, name := range names {
		space, err := spaces.Open(name)
		if err != nil {
			continue // it may be going just now
		}
		if _, err := space.Run(t.Context(), "", "ip", "link", "show", "dev", layout.Tap(id)); err == nil {
			count++
		}
		space.Close()
	}
	return count
}

func TestConformance(t *testing.T) {
	before := hostPicture(t)
	var ranges atomic.Int32
	spec := func(drivertest.T) *driverpb.NetworkSpec {
		return natSpec(fmt.Sprintf("10.77.%d.0/24", ranges.Add(1)))
	}
	bad := func(change func(*driverpb.NetworkSpec)) func(drivertest.T) *driverpb.NetworkSpec {
		return func(t drivertest.T) *driverpb.NetworkSpec {
			wrong := spec(t)
			change(wrong)
			return wrong
		}
	}
	drivertest.Run(t, drivertest.Harness{
		Start: drivertest.Process(drivertest.ProcessOptions{
			Host: func(t drivertest.T) sdk.Host { return newUnits(t) },
		}),
		Truth: kernel{},
		Networks: &drivertest.Networks{
			Properties: func(drivertest.T) drivertest.Properties { return drivertest.Properties{} },
			Spec:       spec,
			Nic: func(_ drivertest.T, spec *driverpb.NetworkSpec, n int) *driverpb.NicSpec {
				address := netip.MustParsePrefix(spec.GetCidr()).Addr().As4()
				address[3] = byte(10 + n)
				return nicSpec(fmt.Sprintf("mac-kit-%d", n), fmt.Sprintf("52:54:00:77:%02x:%02x", address[2], address[3]),
					netip.AddrFrom4(address).String(), fmt.Sprintf("guest-%d", n))
			},
			Bad: []drivertest.BadNetwork{
				{Name: "no range", Spec: bad(func(s *driverpb.NetworkSpec) { s.Cidr = "" }), Field: "/cidr"},
				{Name: "host bits", Spec: bad(func(s *driverpb.NetworkSpec) { s.Cidr = "10.1.2.3/24" }), Field: "/cidr"},
				{
					Name: "gateway outside", Spec: bad(func(s *driverpb.NetworkSpec) { s.Gateway = "192.0.2.1" }),
					Field: "/gateway",
				},
			},
		},
	})
	if after := hostPicture(t); after != before {
		t.Errorf("the host is not as it was:\n%s", difference(before, after))
	}
}
