package settings

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// Harness makes a harness for the categories of a driver, as it describes itself. The caller adds how to start it.
func (s Settings) Harness(
	categories []driverpb.Category, described *driverpb.DescribeReply,
) (drivertest.Harness, error) {
	h := drivertest.Harness{
		Properties: s.Properties, Secrets: s.Secrets, Only: categories, Alone: true,
		Limits: drivertest.Limits{
			Call: time.Duration(s.Limits.Call), Cancel: time.Duration(s.Limits.Cancel),
			KillPoints: s.Limits.KillPoints, Parallel: s.Limits.Parallel,
		},
	}
	var wrong []error
	add := func(category driverpb.Category, fill func() error) {
		if slices.Contains(categories, category) {
			wrong = append(wrong, fill())
		}
	}
	add(driverpb.Category_CATEGORY_STORAGE, func() (err error) {
		h.Storage, err = s.storage(described)
		return err
	})
	add(driverpb.Category_CATEGORY_IMAGE, func() (err error) {
		h.Images, err = s.images(described)
		return err
	})
	add(driverpb.Category_CATEGORY_HYPERVISOR, func() (err error) {
		h.Hypervisor, err = s.hypervisor(described)
		return err
	})
	add(driverpb.Category_CATEGORY_NETWORK, func() (err error) {
		h.Networks, err = s.networks(described)
		return err
	})
	add(driverpb.Category_CATEGORY_OUT_OF_BAND, func() (err error) {
		h.OutOfBand, err = s.outOfBand(described)
		return err
	})
	return h, errors.Join(wrong...)
}

// properties makes what a harness wants of given ones.
func properties(given map[string]any) func(t drivertest.T) drivertest.Properties {
	return func(t drivertest.T) drivertest.Properties {
		t.Helper()
		return filled(t, given, strings.ToLower(rand.Text()[:10]))
	}
}

// bad makes settings that must be refused, on top of good ones.
func bad(good map[string]any, all []Bad) []drivertest.BadSetting {
	made := make([]drivertest.BadSetting, 0, len(all))
	for _, b := range all {
		class, _ := classOf(b.Class) // checked when it was read
		made = append(made, drivertest.BadSetting{
			Name: b.Name, Class: class, Code: b.Code, Properties: properties(merged(good, b.Properties)),
		})
	}
	return made
}

func (s Settings) storage(described *driverpb.DescribeReply) (*drivertest.Storage, error) {
	pool, err := complete("storage.pool", "pool", s.Storage.Pool, s.Storage.Secrets, described.GetProperties())
	if err != nil {
		return nil, err
	}
	made := &drivertest.Storage{
		Pool: properties(pool), Secrets: s.Storage.Secrets, BadPools: bad(pool, s.Storage.BadPools),
		VolumeBytes: s.Storage.VolumeBytes, TooLargeBytes: s.Storage.TooLargeBytes, Format: s.Storage.Format,
	}
	if image := s.Storage.Image; image != nil {
		made.Image = func(drivertest.T) drivertest.Image {
			return drivertest.Image{
				Image: &driverpb.Image{Path: image.Path, Format: image.Format, VirtualBytes: image.VirtualBytes},
				Head:  []byte(image.Head),
			}
		}
	}
	can := described.GetCapabilities()
	plain := (can.GetProtocol() == "file" || can.GetProtocol() == "block") &&
		slices.Equal(can.GetVolumeFormats(), []string{"raw"})
	switch {
	case len(s.Storage.Write) > 0 && len(s.Storage.Read) > 0:
		made.Write, made.Read = writeBy(s.Storage.Write), readBy(s.Storage.Read)
	case plain:
		made.Write, made.Read = writePlain, readPlain
	}
	return made, nil
}

func (s Settings) hypervisor(described *driverpb.DescribeReply) (*drivertest.Hypervisor, error) {
	host, err := complete("hypervisor.host", "host", s.Hypervisor.Host, s.Hypervisor.Secrets, described.GetProperties())
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		wellFormed("hypervisor.machine", s.Hypervisor.Machine, &driverpb.MachineSpec{}),
		wellFormed("hypervisor.disk", s.Hypervisor.Disk, &driverpb.MachineDisk{}),
		wellFormed("hypervisor.nic", s.Hypervisor.Nic, &driverpb.MachineNic{}))
	if err != nil {
		return nil, err
	}
	made := &drivertest.Hypervisor{
		Host: properties(host), Secrets: s.Hypervisor.Secrets, BadHosts: bad(host, s.Hypervisor.BadHosts),
		Boot:               time.Duration(s.Hypervisor.Boot),
		IgnoresPowerButton: s.Hypervisor.IgnoresPowerButton,
		UnknownGuest:       len(s.Hypervisor.Machine) == 0 && !s.Hypervisor.IgnoresPowerButton,
		Machine: func(t drivertest.T, id string) *driverpb.MachineSpec {
			if len(s.Hypervisor.Machine) == 0 {
				return &driverpb.MachineSpec{Name: id, Cpus: 1, MemoryBytes: 64 << 20}
			}
			return message(t, s.Hypervisor.Machine, id, &driverpb.MachineSpec{})
		},
	}
	if len(s.Hypervisor.Disk) > 0 {
		made.Disk = func(t drivertest.T, machine string) *driverpb.MachineDisk {
			return message(t, s.Hypervisor.Disk, machine, &driverpb.MachineDisk{})
		}
	}
	if len(s.Hypervisor.Nic) > 0 {
		made.Nic = func(t drivertest.T, machine string) *driverpb.MachineNic {
			return message(t, s.Hypervisor.Nic, machine, &driverpb.MachineNic{})
		}
	}
	return made, nil
}
