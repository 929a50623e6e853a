package enginetest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/actors/enginetest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plantedVar names what a child process is to find wrong.
const plantedVar = "BULKHEAD_TEST_PLANTED"

// TestPlanted is what TestTheKitFindsWhatIsWrong runs.
func TestPlanted(t *testing.T) {
	if p, some := plantedBy(os.Getenv(plantedVar)); some {
		p.test(t)
	}
}

// TestTheKitFindsWhatIsWrong runs drivers and tests that are wrong, each in a process of its own: it must turn red and
// say why.
func TestTheKitFindsWhatIsWrong(t *testing.T) {
	for _, p := range plants() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPlanted$", "-test.count=1")
			cmd.Env = append(os.Environ(), plantedVar+"="+p.name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL") || strings.Contains(string(out), "panic") {
				t.Errorf("the kit did not fail on a check: %v\n%s", err, out)
			}
			if !strings.Contains(string(out), p.says) {
				t.Errorf("it does not say %q:\n%s", p.says, out)
			}
		})
	}
}

func TestADriverWithoutAMistakeIsFoundToHaveNone(t *testing.T) {
	t.Run("create", every(createOnArray, ""))
	t.Run("delete", every(deleteOnArray, ""))
	t.Run("swap", swapOnArray(""))
}

func TestWhatIsTriedAgainHasTheSameToken(t *testing.T) {
	for _, what := range []enginetest.What{
		enginetest.LoseRequest, enginetest.CrashBefore, enginetest.CrashAfter, enginetest.EngineCrashBefore,
		enginetest.EngineCrashAfter, enginetest.Hang,
	} {
		t.Run(string(what), func(t *testing.T) {
			a, d := newArray("")
			enginetest.Run(t, d, func(t *testing.T, z *enginetest.Zone) {
				z.Make(arrayPool(z))
				met := z.Script(enginetest.Fault{Method: "CreateVolume", Call: 1, What: what})
				z.Make(volume("data"))
				z.SameToken("CreateVolume")
				if met.Met() != 1 || len(a.list()) != 1 {
					t.Errorf("met %d times, the array holds %q", met.Met(), a.list())
				}
			})
		})
	}
}

// TestALostAnswerIsAskedFor: nobody repeats what can be recalled.
func TestALostAnswerIsAskedFor(t *testing.T) {
	_, d := newArray("")
	enginetest.Run(t, d, func(t *testing.T, z *enginetest.Zone) {
		z.Make(arrayPool(z))
		z.Script(enginetest.Fault{Method: "CreateVolume", Call: 1, What: enginetest.LoseAnswer})
		z.Make(volume("data"))
		count := map[string]int{}
		for _, c := range z.Calls() {
			count[c.Method]++
		}
		if count["CreateVolume"] != 1 || count["Recall"] != 1 {
			t.Errorf("the calls were %v", count)
		}
	})
}

func TestADriverThatIsDownIsWaitedFor(t *testing.T) {
	_, d := newArray("")
	enginetest.Run(t, d, func(t *testing.T, z *enginetest.Zone) {
		z.Make(arrayPool(z))
		z.KillDriver()
		op := z.Submit(enginetest.Creation(volume("data")))
		time.Sleep(10 * time.Minute)
		if got := enginetest.Get[*resources.Operation](z, op.Ref()); got.Ended() {
			t.Errorf("it is %s while the driver is down: %v", got.Phase, got.Error)
		}
		z.StartDriver()
		z.Succeeded(z.Wait(op))
		time.Sleep(time.Minute)
		adopted := false
		for _, c := range z.Calls() {
			adopted = adopted || c.Method == "Adopt" && c.Resource.Kind == resources.KindPool
		}
		if !adopted {
			t.Error("the driver was started, and did not adopt its pool")
		}
	})
}

func TestARefusalThatLastsIsTheEndOfIt(t *testing.T) {
	_, d := newArray("")
	enginetest.Run(t, d, func(t *testing.T, z *enginetest.Zone) {
		z.Make(arrayPool(z))
		full := sdk.Exhausted("array-full", "the array is full", "add shelves")
		met := z.Script(enginetest.Fault{Method: "CreateVolume", What: enginetest.Refuse, Err: full})
		op := z.Create(volume("data"))
		z.Failed(op)
		if op.Error.Code != "array-full" || op.Error.Remedy != "add shelves" {
			t.Errorf("it failed with %+v", op.Error)
		}
		z.Is(op.Target, resources.PhaseFailed)
		met.Stop()
		z.Make(volume("another"))
	})
}

// TestADriverThatAnswersLateIsWaitedFor shows that time is fake: it takes an hour and no time.
func TestADriverThatAnswersLateIsWaitedFor(t *testing.T) {
	_, d := newArray("")
	begin := time.Now()
	enginetest.Run(t, d, func(t *testing.T, z *enginetest.Zone) {
		z.Make(arrayPool(z))
		z.Script(enginetest.Fault{Method: "CreateVolume", Call: 1, What: enginetest.Delay, For: 40 * time.Minute})
		op := z.Create(volume("data"))
		z.Succeeded(op)
		if took := op.EndedAt.Sub(op.StartedAt); took < 40*time.Minute {
			t.Errorf("it took %s", took)
		}
	})
	if took := time.Since(begin); took > 20*time.Minute {
		t.Errorf("fake time passed as real time does: %s", took)
	}
}

func TestWhatIsSuspendedWaits(t *testing.T) {
	_, d := newArray("")
	enginetest.Run(t, d, func(t *testing.T, z *enginetest.Zone) {
		z.Make(arrayPool(z))
		data := z.Make(volume("data"))
		z.Suspend(data)
		op := z.Submit(enginetest.Action(data, "delete", resources.Arguments{}))
		z.CrashEngine()
		time.Sleep(time.Minute)
		if !z.Known(data) {
			t.Fatal("it was deleted while it was suspended")
		}
		z.Resume(data)
		z.Succeeded(z.Wait(op))
		if z.Known(data) {
			t.Error("it was deleted and is still known")
		}
	})
}

// TestASwapWhoseNewVersionCrashesEndsWell has everything move while the new version dies.
func TestASwapWhoseNewVersionCrashesEndsWell(t *testing.T) {
	a, d := newArray("")
	enginetest.Run(t, d, func(t *testing.T, z *enginetest.Zone) {
		z.Make(arrayPool(z))
		data := z.Make(volume("data"))
		z.AddVersion(enginetest.Driver{New: driverOf(a, "1.1.0", "")})
		z.Script(enginetest.Fault{Method: "Adopt", Call: 1, What: enginetest.CrashAfter})
		z.Succeeded(z.Swap("1.1.0"))
		z.Succeeded(z.Do(data, "delete", resources.Arguments{}))
		calls := z.Calls()
		for i, c := range calls {
			if c.Method == "DeleteVolume" && c.Version != "1.1.0" {
				t.Errorf("call %d was made of version %s", i, c.Version)
			}
		}
	})
}

// metal is a driver of hosts and networks, not of storage.
func metal(t *testing.T) enginetest.Driver {
	t.Helper()
	world := simworld.New()
	return enginetest.Driver{
		New: func(sdk.Environment) (sdk.Driver, error) {
			d := sim.NewDriver(world, sim.Options{})
			d.Name, d.Storage, d.Images, d.OutOfBand = "acme/metal", nil, nil, nil
			return d, nil
		},
		Remains: func() (names []string) {
			truth, err := world.Truth()
			if err != nil {
				t.Error(err)
				return nil
			}
			for _, kind := range []string{simworld.KindMachine, simworld.KindNic} {
				for _, o := range truth.Objects(kind) {
					names = append(names, o.String())
				}
			}
			return names
		},
	}
}

func TestADriverOfHostsAndNetworksWithAFaultAtEveryCall(t *testing.T) {
	enginetest.EveryFault(t, func(t *testing.T) enginetest.Scenario {
		disks, pool := files(t)
		return enginetest.Scenario{
			Driver: metal(t), Prepare: func(z *enginetest.Zone) resources.Submission {
				z.AddDriver(disks)
				z.Make(pool)
				z.Make(&resources.Host{
					Meta: resources.Meta{Kind: resources.KindHost, Name: "h"}, Spec: resources.HostSpec{Driver: z.Product()},
				})
				network := z.Make(&resources.Network{
					Meta: resources.Meta{Kind: resources.KindNetwork, Name: "n"},
					Spec: resources.NetworkSpec{Driver: z.Product(), CIDR: "10.30.0.0/24"},
				})
				return enginetest.Creation(&resources.Machine{
					Meta: resources.Meta{Kind: resources.KindMachine, Name: "web"},
					Spec: resources.MachineSpec{
						CPUs: 1, MemoryBytes: 64 * mib, Root: &resources.RootDisk{SizeBytes: 8 * mib},
						Nics: []resources.MachineNic{{NetworkID: resources.NetworkID(network.ID)}},
					},
				})
			},
		}
	})
}
