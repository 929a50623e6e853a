package enginetest_test

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/enginetest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/filestorage"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const mib = 1 << 20

// files is the driver that keeps volumes as files, and a pool in a directory of its own.
func files(t *testing.T) (enginetest.Driver, *resources.Pool) {
	t.Helper()
	dir := t.TempDir()
	pool := &resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"},
		Spec: resources.PoolSpec{
			Driver: filestorage.Name, Properties: map[string]any{"path": dir, "minimumFreeBytes": float64(0)},
		},
	}
	return enginetest.Driver{New: filestorage.New, Remains: func() []string { return below(t, dir) }}, pool
}

func below(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return names
}

func volume(name string) *resources.Volume {
	return &resources.Volume{
		Meta: resources.Meta{Kind: resources.KindVolume, Name: name}, Spec: resources.VolumeSpec{SizeBytes: 8 * mib},
	}
}

func snapshot(of resources.Ref) *resources.Snapshot {
	return &resources.Snapshot{
		Meta: resources.Meta{Kind: resources.KindSnapshot},
		Spec: resources.SnapshotSpec{VolumeID: resources.VolumeID(of.ID)},
	}
}

func grow(z *enginetest.Zone, v resources.Ref) {
	z.Succeeded(z.Wait(z.Submit(enginetest.Action(v, "grow", resources.Arguments{SizeBytes: 16 * mib}))))
}

// machine is one that runs on the simulator, with its disk in the pool of the driver.
func machine(z *enginetest.Zone) *resources.Machine {
	z.Surround()
	return &resources.Machine{
		Meta: resources.Meta{Kind: resources.KindMachine, Name: "web"},
		Spec: resources.MachineSpec{CPUs: 1, MemoryBytes: 64 * mib, Root: &resources.RootDisk{SizeBytes: 8 * mib}},
	}
}

// scenarios are operations that need the storage driver.
func scenarios() map[string]struct {
	irreversible bool
	prepare      func(z *enginetest.Zone) resources.Submission
} {
	type scenario = struct {
		irreversible bool
		prepare      func(z *enginetest.Zone) resources.Submission
	}
	return map[string]scenario{
		"create-volume": {prepare: func(*enginetest.Zone) resources.Submission {
			return enginetest.Creation(volume("data"))
		}},
		"grow-volume": {prepare: func(z *enginetest.Zone) resources.Submission {
			return enginetest.Action(z.Make(volume("data")), "grow", resources.Arguments{SizeBytes: 16 * mib})
		}},
		"delete-volume": {irreversible: true, prepare: func(z *enginetest.Zone) resources.Submission {
			return enginetest.Action(z.Make(volume("data")), "delete", resources.Arguments{})
		}},
		"create-snapshot": {prepare: func(z *enginetest.Zone) resources.Submission {
			return enginetest.Creation(snapshot(z.Make(volume("data"))))
		}},
		"revert-volume": {prepare: func(z *enginetest.Zone) resources.Submission {
			v := z.Make(volume("data"))
			s := z.Make(snapshot(v))
			return enginetest.Action(v, "revert", resources.Arguments{SnapshotID: resources.SnapshotID(s.ID)})
		}},
		"revert-grown-volume": {prepare: func(z *enginetest.Zone) resources.Submission {
			v := z.Make(volume("data"))
			s := z.Make(snapshot(v))
			grow(z, v)
			return enginetest.Action(v, "revert", resources.Arguments{SnapshotID: resources.SnapshotID(s.ID)})
		}},
		"revert-to-larger": {prepare: func(z *enginetest.Zone) resources.Submission {
			v := z.Make(volume("data"))
			small := z.Make(snapshot(v))
			grow(z, v)
			large := z.Make(snapshot(v))
			back := enginetest.Action(v, "revert", resources.Arguments{SnapshotID: resources.SnapshotID(small.ID)})
			z.Succeeded(z.Wait(z.Submit(back)))
			return enginetest.Action(v, "revert", resources.Arguments{SnapshotID: resources.SnapshotID(large.ID)})
		}},
		"create-machine": {prepare: func(z *enginetest.Zone) resources.Submission {
			return enginetest.Creation(machine(z))
		}},
		"attach-volume": {prepare: func(z *enginetest.Zone) resources.Submission {
			v := z.Make(volume("data"))
			return enginetest.Action(z.Make(machine(z)), "attach-volume",
				resources.Arguments{VolumeID: resources.VolumeID(v.ID)})
		}},
	}
}

func TestAStorageDriverWithAFaultAtEveryCall(t *testing.T) {
	for name, s := range scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enginetest.EveryFault(t, func(t *testing.T) enginetest.Scenario {
				d, pool := files(t)
				return enginetest.Scenario{
					Driver: d, Irreversible: s.irreversible,
					Prepare: func(z *enginetest.Zone) resources.Submission {
						z.Make(pool)
						return s.prepare(z)
					},
				}
			})
		})
	}
}
