package driving

import (
	"strconv"

	dto "github.com/prometheus/client_model/go"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// LastLines are at most so many of a text.
func LastLines(text string, most int) []string { return lastLines(text, most) }

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

// Granted describes versions, and after each lists the paths that properties of their product grant.
func Granted(properties map[string]any, described ...map[string]string) (granted [][]host.Grant, err error) {
	d := &Drivers{
		described: map[Version]description{}, paths: map[pathsAsked]pathsFound{}, learned: make(chan struct{}),
		namingPaths: map[string][]resources.Property{},
	}
	for i, keys := range described {
		var all []resources.Property
		for key, access := range keys {
			all = append(all, resources.Property{Key: key, Scope: "pool", Type: "string", PathAccess: access, Label: key})
		}
		sheet, err := property.Compile(all)
		if err != nil {
			return nil, err
		}
		d.set(Version{"acme", strconv.Itoa(i)}, description{sheet: sheet})
		granted = append(granted, d.grantsOf("acme", properties))
	}
	return granted, nil
}

// NotRunning says why a version has no process, and is not in trouble.
func NotRunning(v Version, record *resources.Driver) error { return notRunning(v, record) }
