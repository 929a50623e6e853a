package sdk

import (
	"context"
	"errors"
	"log/slog"

	dto "github.com/prometheus/client_model/go"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// APIMin and APIMax are the contract versions this SDK serves.
const (
	APIMin = 1
	APIMax = 1
)

// MaxMessageBytes limits one message of the contract in either direction.
const MaxMessageBytes = 4 << 20

// MaxHandleBytes limits the data of a handle.
const MaxHandleBytes = 64 << 10

// Driver is everything Serve needs.
type Driver struct {
	// Name is "vendor/name"; Version is a semantic version.
	Name, Version string
	// HandleReads lists the handle versions this driver can read besides HandleWrites, which it writes. When all
	// are zero handles are not checked.
	HandleReads  []uint32
	HandleWrites uint32
	// Concurrency is how many calls in flight the driver is willing to take; 0 = no limit of its own.
	Concurrency uint32
	// Description is what Describe answers: properties and capabilities.
	Description *driverpb.DescribeReply
	// Metrics are what the driver counts itself, for the operators' monitoring; nil = nothing. A *prometheus.Registry of
	// github.com/prometheus/client_golang does.
	Metrics Metrics
	// Resources is required.
	Resources Resources
	// A category that is nil is not served.
	Storage    driverpb.StorageServer
	Images     driverpb.ImagesServer
	Hypervisor driverpb.HypervisorServer
	Networks   driverpb.NetworksServer
	OutOfBand  driverpb.OutOfBandServer
}

// Metrics are counters, gauges and histograms of a driver: docs/vendors/metrics.md has the rules for them. Gather may
// be called concurrently and answers from memory.
type Metrics interface {
	Gather() ([]*dto.MetricFamily, error)
}

// Resources is the part of Base that only the driver can answer. Its methods are called concurrently, though
// Adopt and Release never together with another mutating call on the same resource.
type Resources interface {
	// Configure sets the driver-wide properties. Repeatable; the last one counts. Never called concurrently with
	// itself.
	Configure(ctx context.Context, properties map[string]any, secrets map[string]string) error
	// Probe answers whether the driver can do its work now. With a call that is nil or without a resource it is
	// about the process. It changes nothing.
	Probe(ctx context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error)
	// Adopt takes responsibility for a resource; the returned handle replaces the one in call. Idempotent.
	Adopt(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error)
	// Release lets go of connections and caches of a resource and changes nothing else. Idempotent.
	Release(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error)
	// Observe calls found for all that exists in the scope of call's resource. It changes nothing. It stops at
	// the first error of found and returns it.
	Observe(ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error
}

// Environment is what a driver gets from the process it runs in.
type Environment struct {
	// Instance is the name of this process, unique on the node.
	Instance string
	// WorkDir may be written to; its content may vanish between starts.
	WorkDir string
	// Log writes JSON lines to stderr.
	Log *slog.Logger
	// Host is asked for what a confined process cannot do itself.
	Host Host
}

func (d *Driver) check() error {
	switch {
	case d.Name == "" || d.Version == "":
		return errors.New("checking driver: name and version are required")
	case d.Resources == nil:
		return errors.New("checking driver: Resources is required")
	case len(d.categories()) == 0:
		return errors.New("checking driver: no category is served")
	}
	return nil
}

func (d *Driver) categories() []driverpb.Category {
	var served []driverpb.Category
	if d.Networks != nil {
		served = append(served, driverpb.Category_CATEGORY_NETWORK)
	}
	if d.Storage != nil {
		served = append(served, driverpb.Category_CATEGORY_STORAGE)
	}
	if d.Images != nil {
		served = append(served, driverpb.Category_CATEGORY_IMAGE)
	}
	if d.Hypervisor != nil {
		served = append(served, driverpb.Category_CATEGORY_HYPERVISOR)
	}
	if d.OutOfBand != nil {
		served = append(served, driverpb.Category_CATEGORY_OUT_OF_BAND)
	}
	return served
}
