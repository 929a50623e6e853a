package actors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// archived is the record of a version from an archive.
func archived(product, version string, requires ...string) *resources.Driver {
	d := &resources.Driver{
		Meta: resources.Meta{
			Kind: resources.KindDriver, Name: strings.ReplaceAll(product, "/", ".") + "-" + version,
		},
		Spec: resources.DriverSpec{
			Product: product, Version: version, Categories: []string{"storage"}, Enabled: true,
			Digest: "sha256:" + product + version,
		},
		Status: resources.DriverStatus{HandleWrites: 1},
	}
	for i := 0; i < len(requires); i += 2 {
		d.Spec.Requires = append(d.Spec.Requires, resources.DriverRequirement{
			Product: requires[i], Versions: requires[i+1],
		})
	}
	return d
}

// life is a zone in which versions of drivers come and go.
type life struct {
	*actorstest.Zone
	t *testing.T
}

func (z life) try(s resources.Submission) error {
	z.t.Helper()
	op, err := z.Engine().Submit(context.Background(), s)
	if err == nil {
		op = z.Wait(op.ID)
		if op.Error != nil {
			return op.Error
		}
	}
	return err
}

func (z life) update(id string, change func(d *resources.Driver)) error {
	z.t.Helper()
	d := *actorstest.Get[*resources.Driver](z.Zone, resources.KindDriver, id)
	change(&d)
	return z.try(resources.Submission{Action: "update", Target: d.Ref(), Resource: &d})
}

// ask asks for an event of the version with an id; "" = it is not there.
func (z life) ask(event resources.DriverEvent, id string) error {
	z.t.Helper()
	switch event {
	case resources.DriverInstall:
		if id == "" {
			return z.try(resources.Submission{
				Action: "create", Target: resources.Ref{Kind: resources.KindDriver},
				Resource: archived("acme/shelf", "1.0.0", "acme/fabric", ">=1"),
			})
		}
		return z.update(id, func(d *resources.Driver) { d.Spec.Installs++ })
	case resources.DriverEnable:
		return z.update(id, func(d *resources.Driver) { d.Spec.Enabled = true })
	case resources.DriverDisable:
		return z.update(id, func(d *resources.Driver) { d.Spec.Enabled = false })
	case resources.DriverMakeCurrent:
		return z.update(id, func(d *resources.Driver) { d.Spec.Current = true })
	case resources.DriverUse:
		return z.try(resources.Submission{
			Action: "create", Target: resources.Ref{Kind: resources.KindPool}, Resource: &resources.Pool{
				Meta: resources.Meta{Kind: resources.KindPool, Name: "p"}, Spec: resources.PoolSpec{Driver: "acme/shelf"},
			},
		})
	case resources.DriverSwapTo:
		return z.try(resources.Submission{
			Action: "create", Target: resources.Ref{Kind: resources.KindSwap}, Resource: &resources.Swap{
				Meta: resources.Meta{Kind: resources.KindSwap}, Spec: resources.SwapSpec{To: resources.DriverID(id)},
			},
		})
	case resources.DriverUninstall:
		return z.try(resources.Submission{Action: "delete", Target: resources.Ref{Kind: resources.KindDriver, ID: id}})
	}
	z.t.Fatalf("there is no way to ask for %q", event)
	return nil
}

// standing brings acme/shelf 1.0.0 to where it is to stand. It requires acme/fabric, and there is an older version of
// it which ships with the server, so that it is not the current one.
func (z life) standing(s resources.DriverStanding) (id string) {
	z.t.Helper()
	older := archived("acme/shelf", "0.9.0")
	older.Spec.BuiltIn, older.Spec.Digest, older.Name = true, "", "shelf"
	z.AddVersion(older)
	if s == resources.DriverAbsent {
		return ""
	}
	fabric := z.Must(archived("acme/fabric", "1.0.0"))
	id = z.Must(archived("acme/shelf", "1.0.0", "acme/fabric", ">=1"))
	if s == resources.DriverDisabled {
		if err := z.ask(resources.DriverDisable, id); err != nil {
			z.t.Fatal(err)
		}
	}
	_ = fabric
	return id
}

// obstruct makes what a code says so.
func (z life) obstruct(code, id string) {
	z.t.Helper()
	must := func(err error) {
		if err != nil {
			z.t.Fatalf("making it %s: %v", code, err)
		}
	}
	switch code {
	case resources.CodeDriverInUse:
		must(z.ask(resources.DriverMakeCurrent, id))
		must(z.ask(resources.DriverUse, id))
	case resources.CodeDriverRequired:
		z.Must(archived("acme/rack", "1.0.0", "acme/shelf", ">=1"))
	case resources.CodeVersionCurrent:
		must(z.ask(resources.DriverMakeCurrent, id))
	case resources.CodeVersionQuarantined:
		_, err := z.Propose(z.t.Context(), &persistence.NoteTrouble{
			Driver: id, Node: "node-1", State: resources.TroubleQuarantined, Reason: "changed",
		})
		must(err)
	case resources.CodeRequirementMissing:
		versions := z.versions("acme/fabric")
		for _, d := range versions {
			must(z.ask(resources.DriverUninstall, d.ID))
		}
	default:
		z.t.Fatalf("nobody knows how to make it %s", code)
	}
}

func (z life) versions(product string) (list []*resources.Driver) {
	z.t.Helper()
	err := z.Machine.View(func(v *persistence.View) (err error) {
		list, err = v.Versions(product)
		return err
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return list
}

// stands is where acme/shelf 1.0.0 stands.
func (z life) stands() resources.DriverStanding {
	for _, d := range z.versions("acme/shelf") {
		if d.Spec.Version == "1.0.0" {
			return resources.StandingOf(d)
		}
	}
	return resources.DriverAbsent
}

// elsewhere are the refusals that other tests make: of archives (internal/node), of circles and swaps (below), and of
// what no request can name.
var elsewhere = []string{ //nolint:gochecknoglobals // a list
	resources.CodeVersionTaken, resources.CodeBuiltIn, resources.CodeSwapUnderWay, resources.CodeRequirementCycle,
	resources.CodeNotInstalled, resources.CodeDriverDisabled,
}

// TestAZoneGoesByTheLifeOfAVersion asks a zone for each event in each standing, with nothing in the way and with each
// obstacle, and compares with the table.
func TestAZoneGoesByTheLifeOfAVersion(t *testing.T) {
	for from, row := range resources.DriverLife() {
		for event, cell := range row {
			if from == resources.DriverAbsent && event != resources.DriverInstall {
				continue // there is no id to name
			}
			codes := slices.DeleteFunc(slices.Clone(cell.Refused), func(code string) bool {
				return slices.Contains(elsewhere, code) || from == resources.DriverDisabled && code == resources.CodeDriverRequired
			})
			for _, code := range append([]string{""}, codes...) {
				t.Run(fmt.Sprintf("%s/%s/%s", from, event, code), func(t *testing.T) {
					bubble(t, func(t *testing.T) { askInCell(t, from, event, cell, code) })
				})
			}
		}
	}
}

func askInCell(
	t *testing.T, from resources.DriverStanding, event resources.DriverEvent, cell resources.DriverCell, code string,
) {
	t.Helper()
	z := life{actorstest.New(t), t}
	id := z.standing(from)
	if from == resources.DriverDisabled && slices.Contains(
		[]string{resources.CodeDriverInUse, resources.CodeVersionCurrent}, code,
	) { // it was that before
		if err := z.ask(resources.DriverEnable, id); err != nil {
			t.Fatal(err)
		}
		z.obstruct(code, id)
		if code == resources.CodeDriverInUse {
			return // and so can't have been disabled
		}
		if err := z.ask(resources.DriverDisable, id); err != nil {
			t.Fatal(err)
		}
	} else if code != "" {
		z.obstruct(code, id)
	}
	if from == resources.DriverAbsent && code == "" {
		z.Must(archived("acme/fabric", "1.0.0"))
	}
	want, to := code, cell.To
	if event == resources.DriverUse && from == resources.DriverDisabled {
		return // the current version acts for what is new: see TestADisabledVersionIsNotUsed
	}
	if slices.Contains(cell.Refused, resources.CodeDriverDisabled) {
		want = resources.CodeDriverDisabled
	}
	if want != "" {
		to = from
	}
	err := z.ask(event, id)
	if event == resources.DriverSwapTo && want != "" {
		if e := resources.AsError(err); e == nil || len(e.Fields) != 1 || e.Fields[0].Code != want || e.Remedy == "" {
			t.Errorf("it says %+v, want a field with %s", e, want)
		}
	} else if e := resources.AsError(err); want == "" && err != nil ||
		want != "" && (e == nil || e.Code != want || e.Remedy == "") {
		t.Errorf("it says %+v, want %q", e, want)
	}
	if got := z.stands(); got != to {
		t.Errorf("it is %s, want %s", got, to)
	}
}

// TestADisabledVersionIsNotUsed: nor made current.
func TestADisabledVersionIsNotUsed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := life{actorstest.New(t), t}
		z.Must(archived("acme/fabric", "1.0.0"))
		id := z.Must(archived("acme/shelf", "1.0.0", "acme/fabric", ">=1"))
		if err := z.ask(resources.DriverDisable, id); err != nil {
			t.Fatal(err)
		}
		e := resources.AsError(z.ask(resources.DriverUse, id))
		if e == nil || e.Code != resources.CodeDriverDisabled || len(e.Fields) != 1 ||
			e.Fields[0].Pointer != "/spec/driver" || !strings.Contains(e.Remedy, "bulkhead driver enable acme.shelf-1.0.0") {
			t.Errorf("using it: %+v", e)
		}
	})
}

// overtaken has something be done between the moment when the next request is judged and that when it is applied.
func (z life) overtaken(by func()) {
	var once sync.Once
	z.Before(func(cmd persistence.Command) {
		if _, asks := cmd.(*persistence.Submit); asks {
			once.Do(func() {
				z.Before(nil)
				by()
			})
		}
	})
}

// TestOvertaken: of two requests of which each would be right alone, the state takes the first.
func TestOvertaken(t *testing.T) {
	for name, test := range map[string]struct {
		first, second resources.DriverEvent
		code          string
	}{
		"what it requires is uninstalled": {resources.DriverUninstall, resources.DriverInstall, "requirement-missing"},
		"what it requires is disabled":    {resources.DriverDisable, resources.DriverInstall, "requirement-missing"},
		"it was required since":           {resources.DriverInstall, resources.DriverUninstall, "driver-required"},
		"it is required since":            {resources.DriverInstall, resources.DriverDisable, "driver-required"},
		"it was installed":                {resources.DriverInstall, resources.DriverInstall, "installed-meanwhile"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := life{actorstest.New(t), t}
				fabric := z.Must(archived("acme/fabric", "1.0.0"))
				ask := func(event resources.DriverEvent) error {
					if event == resources.DriverInstall {
						return z.ask(event, "")
					}
					return z.ask(event, fabric)
				}
				z.overtaken(func() {
					if err := ask(test.first); err != nil {
						t.Errorf("the first says %v", err)
					}
				})
				if e := resources.AsError(ask(test.second)); e == nil || e.Code != test.code || e.Remedy == "" {
					t.Errorf("the second says %+v", e)
				}
			})
		})
	}
}

// TestAPoolAndADisabling: whichever comes second is refused; there is no pool of what is disabled.
func TestAPoolAndADisabling(t *testing.T) {
	for _, order := range [][2]resources.DriverEvent{
		{resources.DriverUse, resources.DriverDisable}, {resources.DriverDisable, resources.DriverUse},
	} {
		t.Run(string(order[0]), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := life{actorstest.New(t), t}
				id := z.Must(archived("acme/shelf", "1.0.0"))
				z.overtaken(func() {
					if err := z.ask(order[0], id); err != nil {
						t.Errorf("the first says %v", err)
					}
				})
				want := resources.CodeDriverInUse
				if order[1] == resources.DriverUse {
					want = resources.CodeDriverDisabled
				}
				if e := resources.AsError(z.ask(order[1], id)); e == nil || e.Code != want || e.Remedy == "" {
					t.Errorf("the second says %+v", e)
				}
			})
		})
	}
}

// TestQuarantineEndsASwap: at whatever step it is found, all is as it was before, and it says why. Meanwhile neither
// version can be taken away.
func TestQuarantineEndsASwap(t *testing.T) {
	for _, step := range []string{"ready", "canary", "observe", "roll", "settle"} {
		t.Run(step, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := newVersions(t, 40)
				id, start := z.swap(resources.SwapSpec{CanaryCount: 2, AtOnce: 1})
				for !begun(z, start.ID, step) {
					time.Sleep(time.Millisecond) // of fake time
				}
				versions := life{z.Zone, t}
				for _, version := range []string{z.old, z.new} {
					err := versions.ask(resources.DriverDisable, version)
					if code := resources.AsError(err); code == nil ||
						!slices.Contains([]string{resources.CodeSwapUnderWay, resources.CodeDriverInUse}, code.Code) {
						t.Errorf("disabling a version of a swap: %v", err)
					}
				}
				_, err := z.Propose(t.Context(), &persistence.NoteTrouble{
					Driver: z.new, Node: "node-1", State: resources.TroubleQuarantined, Reason: "LICENSE is another",
				})
				if err != nil {
					t.Fatal(err)
				}
				op := z.Wait(start.ID)
				if op.Phase != resources.PhaseFailed || op.Error.Code != resources.CodeVersionQuarantined ||
					!strings.Contains(op.Error.Message, "in quarantine on node-1") {
					t.Errorf("it ended as %s: %v", op.Phase, op.Error)
				}
				if got := z.bound(); got[oldVersion] != 41 || got[newVersion] != 0 || z.current() != oldVersion {
					t.Errorf("bound are %v, current is %s", got, z.current())
				}
				if s := z.get(id); s.Phase != resources.PhaseRolledBack {
					t.Errorf("the swap is %s", s.Phase)
				}
				_, err = z.Engine().Submit(t.Context(), resources.Submission{
					Action: "start", Target: resources.Ref{Kind: resources.KindSwap, ID: id},
				})
				if e := resources.AsError(err); e == nil || e.Code != resources.CodeVersionQuarantined {
					t.Errorf("starting it again: %v", err)
				}
			})
		})
	}
}

// begun reports whether a step of an operation was begun.
func begun(z *versions, id, step string) bool {
	op := actorstest.Get[*resources.Operation](z.Zone, resources.KindOperation, id)
	return slices.ContainsFunc(op.Steps, func(s resources.Step) bool { return s.Name == step && s.Attempts > 0 })
}
