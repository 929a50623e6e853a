package driving

import (
	dto "github.com/prometheus/client_model/go"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Planned is a version to put into an order.
type Planned struct {
	Product, Number string
	Category        driverpb.Category
	Requires        []resources.DriverRequirement
}

func versionsOf(planned []Planned) (list []*version) {
	for _, p := range planned {
		list = append(list, &version{
			Version: Version{p.Product, p.Number}, requires: p.Requires,
			manifest: host.Manifest{Name: p.Product, Version: p.Number, Categories: []driverpb.Category{p.Category}},
		})
	}
	return list
}

// StartOrder names versions in the order of their start.
func StartOrder(planned []Planned) (names []string) {
	plan, _ := orderOf(versionsOf(planned))
	for _, u := range plan.Start {
		names = append(names, u.Name)
	}
	return names
}

// StopOrder names versions in the order in which they are stopped.
func StopOrder(planned []Planned) (names []string) {
	for _, one := range lastFirst(versionsOf(planned)) {
		names = append(names, one.unitName())
	}
	return names
}

// Beside leaves out what a driver named as the host names its own.
func Beside(own []*dto.MetricFamily) []*dto.MetricFamily { return newMetricsPage().beside(own) }
