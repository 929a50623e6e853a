package hosted_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/hosted"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// secret is that of the pools, undeclared a file that no manifest here permits to read.
const (
	secret     = "lab-0123456789-secret"
	undeclared = "/root/.bulkhead-kit"
	sleep      = "/bin/sleep"
)

// drivers are the simulator, right and wrong, by the name that their process is started with.
func drivers() map[string]func(sdk.Environment) (sdk.Driver, error) {
	creates := func(
		do func(env sdk.Environment, r *driverpb.CreateVolumeRequest) error,
	) func(sdk.Environment) (sdk.Driver, error) {
		return func(env sdk.Environment) (sdk.Driver, error) {
			d, err := sim.New(env)
			d.Storage = &creating{StorageServer: d.Storage, do: func(r *driverpb.CreateVolumeRequest) error {
				return do(env, r)
			}}
			return d, err
		}
	}
	return map[string]func(sdk.Environment) (sdk.Driver, error){
		"sim": sim.New,
		"leaves-files": creates(func(env sdk.Environment, r *driverpb.CreateVolumeRequest) error {
			return os.WriteFile(filepath.Join(env.WorkDir, r.GetCall().GetResource().GetId()), nil, 0o600)
		}),
		"leaves-processes": creates(func(_ sdk.Environment, r *driverpb.CreateVolumeRequest) error {
			return exec.CommandContext(context.Background(), sleep, "600").Start()
		}),
		"logs-secrets": creates(func(env sdk.Environment, r *driverpb.CreateVolumeRequest) error {
			env.Log.Info("called", slog.Any("secrets", r.GetCall().GetSecrets()))
			return nil
		}),
		"needs-more": creates(func(sdk.Environment, *driverpb.CreateVolumeRequest) error {
			if _, err := os.ReadFile(undeclared); err != nil {
				return sdk.Internal("no-licence", err)
			}
			return nil
		}),
		"ends": func(sdk.Environment) (sdk.Driver, error) {
			return sdk.Driver{}, errors.New("the licence has expired")
		},
	}
}

// creating does something besides, each time it makes a volume.
type creating struct {
	driverpb.StorageServer
	do func(r *driverpb.CreateVolumeRequest) error
}

// CreateVolume implements driverpb.StorageServer.
func (c *creating) CreateVolume(
	ctx context.Context, r *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
	if err := c.do(r); err != nil {
		return nil, err
	}
	return c.StorageServer.CreateVolume(ctx, r)
}

func declaring(t *testing.T, name string, may host.Permissions) host.Manifest {
	t.Helper()
	m := sim.Manifest(executable(t))
	m.Command[2] = name
	may.UnixSockets = true
	m.Permissions = may
	return m
}

func harness(lab *hosted.Lab) drivertest.Harness {
	return drivertest.Harness{
		Start: lab.Start, Beside: lab.Beside, Alone: true,
		Only: []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		Storage: &drivertest.Storage{
			Pool:    func(drivertest.T) drivertest.Properties { return nil },
			Secrets: map[string]string{"accessKey": secret},
		},
		Limits: drivertest.Limits{KillPoints: 1, Parallel: 4},
	}
}

// TestWhatAHostSeesIsFound: what only somebody on the host can tell is found by exactly the check that is about it.
func TestWhatAHostSeesIsFound(t *testing.T) {
	const nothingLeft = "Storage: of what was made and deleted nothing is left on the host"
	for _, test := range []struct {
		driver string
		may    host.Permissions
		want   string // the check that fails
		said   string // by it
	}{
		{driver: "sim"},
		{"leaves-files", host.Permissions{}, nothingLeft, "work/vol-"},
		{"leaves-processes", host.Permissions{Exec: []string{sleep}}, nothingLeft, "process/sleep"},
		{
			"logs-secrets",
			host.Permissions{},
			"Storage: no secret is in a log, a handle, a fault or a fact",
			"the secret accessKey is in the log",
		},
	} {
		t.Run(test.driver, func(t *testing.T) {
			lab := open(t, hosted.Config{Manifest: declaring(t, test.driver, test.may)})
			made := verify(t, lab, func(name string) bool { return strings.HasPrefix(name, "Storage: ") })
			for _, c := range made.Checks {
				said := strings.Join(c.Log, "\n")
				if c.Failed() != (c.Name == test.want) || c.Failed() && !strings.Contains(said, test.said) {
					t.Errorf("%s: %s\n%s", c.Verdict, c.Name, said)
				}
				if c.Failed() && len(c.Calls) == 0 {
					t.Errorf("%s: nothing says what was asked", c.Name)
				}
			}
			if made.Count(report.Passed) < 30 {
				t.Errorf("only %d checks passed", made.Count(report.Passed))
			}
		})
	}
}

func verify(t *testing.T, lab *hosted.Lab, choose func(string) bool) report.Report {
	t.Helper()
	made, err := drivertest.Verify(t.Context(), harness(lab), drivertest.Options{Scratch: lab.Scratch(), Select: choose})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestWhatIsNotPermittedIsNamed: who needs what it did not declare is told what to declare.
func TestWhatIsNotPermittedIsNamed(t *testing.T) {
	lab := open(t, hosted.Config{Manifest: declaring(t, "needs-more", host.Permissions{})})
	made := verify(t, lab, func(name string) bool { return name == "Storage: deleting what is gone succeeds" })
	if len(made.Checks) != 1 || !made.Checks[0].Failed() {
		t.Fatalf("got %v", made.Checks)
	}
	want := fmt.Sprintf("the sandbox refused %q: declare it in permissions.read", undeclared)
	if !slices.ContainsFunc(made.Checks[0].Log, func(said string) bool { return strings.HasPrefix(said, want) }) {
		t.Errorf("nothing says %q:\n%s", want, strings.Join(made.Checks[0].Log, "\n"))
	}
}

// TestADriverThatDoesNotStartSaysWhy: the error has its last words.
func TestADriverThatDoesNotStartSaysWhy(t *testing.T) {
	manifest := declaring(t, "ends", host.Permissions{})
	manifest.Timeouts.Start = 1e9
	lab := open(t, hosted.Config{Manifest: manifest})
	_, _, err := drivertest.Describe(harness(lab), lab.Scratch())
	if _, ok := errors.AsType[*drivertest.StartError](err); !ok || !strings.Contains(err.Error(), "licence has expired") {
		t.Errorf("got %v", err)
	}
}
