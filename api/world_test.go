package api_test

import (
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Secrets that go in and must never come out.
const (
	canaryUserData   = "canary-user-data-6b1d"
	canaryProperty   = "canary-property-93fe"
	canaryDriver     = "canary-driver-c27a"
	canaryUploadPath = "/spool/canary-upload-path"
)

// world is one resource of each kind, by kind, as they stand on each other.
type world map[resources.Kind]string

const tailOfNothing = "-00000000000000000000000000"

// build fills a zone with one resource of each kind.
func (s *site) build() world {
	s.t.Helper()
	z, w := s.zone, world{}
	add := func(r resources.Resource) string {
		id := z.Add(r)
		w[r.Metadata().Kind] = id
		return id
	}
	meta := func(k resources.Kind) resources.Meta {
		return resources.Meta{Kind: k, Name: "the-" + string(k), Labels: map[string]string{"tier": "test"}}
	}
	secret := func(scope string) resources.Property {
		return resources.Property{Key: "password", Scope: scope, Type: "string", Secret: true}
	}
	path := resources.Property{Key: "path", Scope: "pool", Type: "string", Required: true}
	w[resources.KindDriver] = z.AddDriver(
		"bulkhead/sim",
		[]string{"hypervisor", "storage", "network", "image"},
		path,
		resources.Property{Key: "threads", Scope: "driver", Type: "number"},
		secret("pool"),
		secret("host"),
		secret("network"),
		secret("image-store"),
		secret("volume"),
		secret("machine"),
	)
	bag := func() map[string]any { return map[string]any{"path": "/data", "password": canaryProperty} }
	add(&resources.Cluster{Meta: meta(resources.KindCluster)})
	add(&resources.Policy{Meta: meta(resources.KindPolicy), Spec: resources.PolicySpec{
		Effect: resources.PolicyDeny, Drivers: []string{"nobody/has-it"},
	}})
	host := add(&resources.Host{Meta: meta(resources.KindHost), Spec: resources.HostSpec{
		Driver: "bulkhead/sim", Properties: map[string]any{"password": canaryProperty},
	}, Status: resources.HostStatus{CPUs: 8, MemoryBytes: 16 << 30}})
	pool := add(&resources.Pool{Meta: meta(resources.KindPool), Spec: resources.PoolSpec{
		Driver: "bulkhead/sim", Properties: bag(),
	}})
	store := add(&resources.ImageStore{Meta: meta(resources.KindImageStore), Spec: resources.ImageStoreSpec{
		Driver: "bulkhead/sim", Properties: map[string]any{"password": canaryProperty},
	}})
	add(&resources.Template{Meta: meta(resources.KindTemplate), Spec: resources.TemplateSpec{
		ImageStoreID: resources.ImageStoreID(store), Format: "raw", File: "/images/a",
	}})
	network := resources.NetworkID(add(&resources.Network{Meta: meta(resources.KindNetwork), Spec: resources.NetworkSpec{
		Driver: "bulkhead/sim", CIDR: "10.0.0.0/24", Properties: map[string]any{"password": canaryProperty},
	}}))
	add(&resources.Address{Meta: meta(resources.KindAddress), Spec: resources.AddressSpec{NetworkID: network}})
	add(&resources.Rule{Meta: meta(resources.KindRule), Spec: resources.RuleSpec{NetworkID: network, Type: "ingress"}})
	volume := add(&resources.Volume{
		Meta: meta(resources.KindVolume),
		Spec: resources.VolumeSpec{
			SizeBytes: 1 << 30, PoolID: resources.PoolID(pool), Properties: map[string]any{"password": canaryProperty},
		},
		Status: resources.VolumeStatus{PoolID: resources.PoolID(pool), SizeBytes: 1 << 30},
	})
	add(
		&resources.Snapshot{
			Meta: meta(resources.KindSnapshot),
			Spec: resources.SnapshotSpec{VolumeID: resources.VolumeID(volume)},
		},
	)
	machine := meta(resources.KindMachine)
	machine.Phase = resources.PhaseRunning
	id := add(&resources.Machine{
		Meta: machine,
		Spec: resources.MachineSpec{
			CPUs: 1, MemoryBytes: 1 << 28, CloudInit: &resources.CloudInit{UserData: canaryUserData},
			Properties: map[string]any{"password": canaryProperty},
		},
		Status: resources.MachineStatus{HostID: resources.HostID(host)},
	})
	add(&resources.Nic{Meta: meta(resources.KindNic), Spec: resources.NicSpec{
		MachineID: resources.MachineID(id), NetworkID: network,
	}})
	swap := meta(resources.KindSwap)
	swap.Phase = resources.PhasePlanned
	add(&resources.Swap{Meta: swap, Spec: resources.SwapSpec{To: resources.DriverID(w[resources.KindDriver])}})
	w[resources.KindToken] = z.Add(&resources.Token{
		Meta: resources.Meta{
			Kind: resources.KindToken,
			Name: "the-token",
		},
		Spec: resources.TokenSpec{Role: resources.RoleReader},
	})
	w[resources.KindOperation] = z.Add(&resources.Operation{
		Meta:   resources.Meta{Kind: resources.KindOperation, Phase: resources.PhaseRunning},
		Action: "create",
		Target: resources.Ref{
			Kind: resources.KindVolume,
			ID:   volume,
		},
		Arguments: resources.Arguments{Upload: canaryUploadPath},
		Steps:     []resources.Step{{Name: "prepare", State: resources.StepRunning}},
	})
	w[door.KindNode] = "node-2"
	s.nodes.Join(w[door.KindNode])
	i, err := s.nodes.CreateJoinToken(s.t.Context(), door.JoinNode, time.Minute, resources.Origin{})
	if err != nil {
		s.t.Fatal(err)
	}
	w[door.KindJoinToken] = i.JoinToken.ID
	return w
}
