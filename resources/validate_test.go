package resources_test

import (
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// pointers lists the fields a resource is refused for.
func pointers(r resources.Resource) []string {
	p := resources.NewProblems("")
	r.Validate(p)
	err := p.Err()
	if err == nil {
		return nil
	}
	var list []string
	for _, f := range resources.AsError(err).Fields {
		list = append(list, f.Pointer)
	}
	return list
}

func machine(change func(m *resources.Machine)) *resources.Machine {
	m := &resources.Machine{
		Meta: resources.Meta{Kind: resources.KindMachine, Name: "web-1"},
		Spec: resources.MachineSpec{
			CPUs: 2, MemoryBytes: 1 << 30, Root: &resources.RootDisk{SizeBytes: 1 << 30},
			Nics: []resources.MachineNic{{NetworkID: "net-1"}},
		},
	}
	change(m)
	return m
}

func network(cidr, gateway string) *resources.Network {
	return &resources.Network{
		Meta: resources.Meta{Kind: resources.KindNetwork, Name: "net"},
		Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: cidr, Gateway: gateway},
	}
}

func volume(spec resources.VolumeSpec) *resources.Volume {
	return &resources.Volume{Meta: resources.Meta{Kind: resources.KindVolume}, Spec: spec}
}

func TestValidationNamesTheField(t *testing.T) {
	for name, c := range map[string]struct {
		resource resources.Resource
		want     string // "" = accepted
	}{
		"a machine":          {machine(func(*resources.Machine) {}), ""},
		"no name":            {machine(func(m *resources.Machine) { m.Name = "" }), "/name"},
		"upper case":         {machine(func(m *resources.Machine) { m.Name = "Web" }), "/name"},
		"unicode look-alike": {machine(func(m *resources.Machine) { m.Name = "wеb" }), "/name"},
		"zero width space":   {machine(func(m *resources.Machine) { m.Name = "web\u200b" }), "/name"},
		"too long":           {machine(func(m *resources.Machine) { m.Name = strings.Repeat("a", 64) }), "/name"},
		"ends with a dash":   {machine(func(m *resources.Machine) { m.Name = "web-" }), "/name"},
		"label key":          {machine(func(m *resources.Machine) { m.Labels = map[string]string{"a b": "c"} }), "/labels"},
		"label value": {machine(func(m *resources.Machine) {
			m.Labels = map[string]string{"a/b": "\n"}
		}), "/labels/a~1b"},
		"no CPU":            {machine(func(m *resources.Machine) { m.Spec.CPUs = 0 }), "/spec/cpus"},
		"too little memory": {machine(func(m *resources.Machine) { m.Spec.MemoryBytes = 1 }), "/spec/memoryBytes"},
		"firmware":          {machine(func(m *resources.Machine) { m.Spec.Firmware = "open" }), "/spec/firmware"},
		"root without size": {machine(func(m *resources.Machine) { m.Spec.Root.SizeBytes = 0 }), "/spec/root/sizeBytes"},
		"volume twice": {machine(func(m *resources.Machine) {
			m.Spec.Volumes = []resources.VolumeID{"vol-1", "vol-1"}
		}), "/spec/volumes/1"},
		"nic without network": {machine(func(m *resources.Machine) {
			m.Spec.Nics[0].NetworkID = ""
		}), "/spec/nics/0/networkId"},
		"user data": {machine(func(m *resources.Machine) {
			m.Spec.CloudInit = &resources.CloudInit{UserData: strings.Repeat("x", 256<<10+1)}
		}), "/spec/cloudInit/userData"},
		"a network":         {network("10.0.0.0/24", ""), ""},
		"host bits":         {network("10.0.0.1/24", ""), "/spec/cidr"},
		"too small":         {network("10.0.0.0/30", ""), "/spec/cidr"},
		"IPv6":              {network("fd00::/64", ""), "/spec/cidr"},
		"not a range":       {network("ten", ""), "/spec/cidr"},
		"gateway outside":   {network("10.0.0.0/24", "10.0.1.1"), "/spec/gateway"},
		"gateway broadcast": {network("10.0.0.0/24", "10.0.0.255"), "/spec/gateway"},
		"empty volume":      {volume(resources.VolumeSpec{}), "/spec/sizeBytes"},
		"too large":         {volume(resources.VolumeSpec{SizeBytes: 1 << 62}), "/spec/sizeBytes"},
		"two sources": {volume(resources.VolumeSpec{
			SizeBytes: 1 << 30, TemplateID: "tpl-1", SnapshotID: "snap-1",
		}), "/spec/snapshotId"},
	} {
		t.Run(name, func(t *testing.T) {
			got := pointers(c.resource)
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || got[0] != c.want) {
				t.Errorf("refused for %v, want %q", got, c.want)
			}
		})
	}
}

func TestPortRanges(t *testing.T) {
	for ports, want := range map[string][3]uint32{
		"": {0, 0, 1}, "80": {80, 80, 1}, "8000-8080": {8000, 8080, 1}, "0": {}, "70000": {}, "90-80": {}, "a": {}, "1-": {},
	} {
		from, to, ok := (&resources.RuleSpec{Ports: ports}).PortRange()
		if ok != (want[2] == 1) || ok && (from != want[0] || to != want[1]) {
			t.Errorf("range of %q = %d-%d %v", ports, from, to, ok)
		}
	}
}

func TestPositionsReadBackAsTheyWereWritten(t *testing.T) {
	for _, p := range []resources.Position{{}, {Revision: 7}, {Revision: 1 << 60, Index: 1<<32 - 1}} {
		got, err := resources.ParsePosition(p.String())
		if err != nil || got != p {
			t.Errorf("%s reads as %v, %v", p, got, err)
		}
	}
	for _, bad := range []string{"", "x", "1.", ".1", "-1", "1.2.3"} {
		if _, err := resources.ParsePosition(bad); err == nil {
			t.Errorf("%q passes for a position", bad)
		}
	}
}
