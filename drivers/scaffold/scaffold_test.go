package scaffold_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/scaffold"
)

// TestGoDriversBuildAndPassTheirTests; those of a storage driver are the whole conformance kit.
func TestGoDriversBuildAndPassTheirTests(t *testing.T) {
	for _, category := range scaffold.Categories() {
		t.Run(category, func(t *testing.T) {
			dir := begin(t, category, scaffold.Go)
			do(t, dir, withoutNetwork(runtime.GOARCH), "go", "vet", "./...")
			do(t, dir, withoutNetwork(runtime.GOARCH), "go", "test", "-count=1", "./...")
		})
	}
}

func TestPythonDriversPassTheirTests(t *testing.T) { passTheirTests(t, scaffold.Python) }

func TestScriptDriversPassTheirTests(t *testing.T) { passTheirTests(t, scaffold.Script) }

func passTheirTests(t *testing.T, language string) {
	t.Helper()
	for _, category := range scaffold.Categories() {
		t.Run(category, func(t *testing.T) {
			dir := begin(t, category, language)
			do(t, dir, nil, "python3", "-B", "-m", "unittest", "discover", "-s", "tests")
			packing, err := archive.Pack(t.Context(), dir, &bytes.Buffer{}, archive.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			for _, advice := range packing.Lint() {
				t.Errorf("the linter says: %v", advice)
			}
		})
	}
}

// TestPythonStorageDriverConforms holds what Python drivers have in common, and the storage driver, to the contract.
func TestPythonStorageDriverConforms(t *testing.T) {
	dir := begin(t, "storage", scaffold.Python)
	drivertest.Run(t, drivertest.Harness{
		Start: drivertest.Process(drivertest.ProcessOptions{Command: func() *exec.Cmd {
			return exec.Command("/usr/bin/python3", "-I", "-S", "-B", filepath.Join(dir, "code", "driver.py"))
		}}),
		Limits: drivertest.Limits{KillPoints: 1}, // Python takes a second to start
		Storage: &drivertest.Storage{
			Pool: func(t drivertest.T) drivertest.Properties { return drivertest.Properties{"path": t.TempDir()} },
			BadPools: []drivertest.BadSetting{{
				Name: "no such directory", Code: "path-missing",
				Properties: func(drivertest.T) drivertest.Properties { return drivertest.Properties{"path": "/nowhere"} },
			}},
			Write: func(t drivertest.T, disk *driverpb.Disk, data []byte) {
				file, err := os.OpenFile(disk.GetPath(), os.O_WRONLY, 0)
				if err == nil {
					_, err = file.Write(data)
				}
				if err = errors.Join(err, file.Close()); err != nil {
					t.Fatal(err)
				}
			},
			Read: func(t drivertest.T, disk *driverpb.Disk, n int) []byte {
				text, err := os.ReadFile(disk.GetPath())
				if err != nil {
					t.Fatal(err)
				}
				return text[:n]
			},
		},
	})
}

// TestDriversRunFromTheirArchives packs a driver in each language, unpacks it, and has the host start it, confined as
// strongly as can be, and make a volume.
func TestDriversRunFromTheirArchives(t *testing.T) {
	for _, language := range []string{scaffold.Go, scaffold.Python, scaffold.Script} {
		t.Run(language, func(t *testing.T) {
			dir := begin(t, "storage", language)
			if language == scaffold.Go {
				onlyHere(t, dir)
				do(t, dir, withoutNetwork(runtime.GOARCH), "go", "build", "-o", "code/linux-"+runtime.GOARCH+"/driver", ".")
			}
			root := reachable(t)
			a, code := unpacked(t, dir, filepath.Join(root, "archives"))
			manifest, err := a.Declaration.Manifest(runtime.GOOS+"/"+runtime.GOARCH, code)
			if err != nil {
				t.Fatal(err)
			}
			manifest.Isolation = sandbox.LevelStrong
			runConfined(t, root, manifest)
		})
	}
}

// onlyHere has a driver run on this platform alone: building for another one takes minutes.
func onlyHere(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "driver.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := regexp.MustCompile(`(?m)^  linux/(amd64|arm64): .*\n`)
	text = other.ReplaceAllFunc(text, func(line []byte) []byte {
		if bytes.Contains(line, []byte(runtime.GOARCH)) {
			return line
		}
		return nil
	})
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// reachable is a directory that users of drivers can reach.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "scaffold")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Nobody may write to what was unpacked, but root may remove it.
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func runConfined(t *testing.T, root string, manifest host.Manifest) {
	t.Helper()
	pool := filepath.Join(root, "pool")
	if err := os.Mkdir(pool, 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := host.Open(host.Config{StateDir: filepath.Join(root, "host")})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	instance, err := h.Start(ctx, manifest, host.Setup{Grants: []host.Grant{{Path: pool, ReadWrite: true}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			tail, _ := instance.LogTail(4096)
			t.Logf("%s, failures %v, log:\n%s", instance.State(), instance.LastErrors(), tail)
		}
		if err := h.Stop(context.WithoutCancel(ctx), instance.Name()); err != nil {
			t.Error(err)
		}
	}()
	if err := instance.Await(ctx, host.StateRunning); err != nil {
		t.Fatalf("it does not run: %v", err)
	}
	if level := instance.Report().Level; level != sandbox.LevelStrong {
		t.Errorf("it runs at level %s", level)
	}
	describes(ctx, t, instance)
	makesVolume(ctx, t, instance, pool)
	if leftovers, err := filepath.Glob(filepath.Join(manifest.Code, "code", "__pycache__")); len(leftovers) > 0 {
		t.Errorf("it wrote into its code: %v, %v", leftovers, err)
	}
}

// describes checks that the driver says of itself what it was declared to be.
func describes(ctx context.Context, t *testing.T, instance *host.Instance) {
	t.Helper()
	got, err := driverpb.NewBaseClient(instance.Conn()).Describe(ctx, &driverpb.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(instance.Manifest().Code, "driver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	declaration, err := archive.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want, err := declaration.Describe()
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("it says %v, declared is %v", got, want)
	}
}

func makesVolume(ctx context.Context, t *testing.T, instance *host.Instance, pool string) {
	t.Helper()
	properties, err := structpb.NewStruct(map[string]any{"path": pool})
	if err != nil {
		t.Fatal(err)
	}
	call := func(kind, id string) *driverpb.Call {
		return &driverpb.Call{
			Token: "token-" + id, Resource: &driverpb.Ref{Kind: kind, Id: id}, Epoch: 1, Properties: properties,
		}
	}
	storage := driverpb.NewStorageClient(instance.Conn())
	opened, err := storage.OpenPool(ctx, &driverpb.OpenPoolRequest{Call: call("pool", "pool-1")})
	if err != nil {
		t.Fatal(err)
	}
	made, err := storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{
		Call: call("volume", "vol-1"), SizeBytes: 8 << 20,
		Pool: &driverpb.PoolRef{Resource: &driverpb.Ref{Kind: "pool", Id: "pool-1"}, Handle: opened.GetHandle()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(made.GetDisk().GetPath()); err != nil || info.Size() != 8<<20 {
		t.Errorf("made %v: %v, %v", made, info, err)
	}
}

func TestOptionsThatCanNotBe(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for option, change := range map[string]func(o *scaffold.Options){
		"name":     func(o *scaffold.Options) { o.Name = "Shelf" },
		"category": func(o *scaffold.Options) { o.Category = "disk" },
		"language": func(o *scaffold.Options) { o.Language = "cobol" },
		"module":   func(o *scaffold.Options) { o.Module = "x\nreplace y" },
		"replace":  func(o *scaffold.Options) { o.Language = scaffold.Go },
		"dir":      func(o *scaffold.Options) { o.Dir = full },
	} {
		o := scaffold.Options{
			Name: "acme/shelf", Category: "storage", Language: scaffold.Python, Dir: filepath.Join(t.TempDir(), "new"),
			Version: "0.1.0-dev",
		}
		change(&o)
		_, err := scaffold.Write(o)
		var wrong *scaffold.OptionError
		if !errors.As(err, &wrong) || wrong.Option != option {
			t.Errorf("%s: got %v", option, err)
		}
	}
}

// blank is one that nobody filled in.
var blank = regexp.MustCompile(`@[A-Z]+@`)

func TestNoBlankIsLeft(t *testing.T) {
	for _, language := range []string{scaffold.Go, scaffold.Python, scaffold.Script} {
		for _, category := range scaffold.Categories() {
			dir := filepath.Join(t.TempDir(), "new")
			names, err := scaffold.Write(scaffold.Options{
				Name: "acme/shelf", Category: category, Language: language, Dir: dir, Version: "1.2.3",
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(names, ".github/workflows/driver.yml") || !slices.IsSorted(names) {
				t.Errorf("%s, %s: wrote %v", language, category, names)
			}
			for _, name := range names {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if blank.Match(text) {
					t.Errorf("%s has a blank: %s", name, blank.Find(text))
				}
			}
		}
	}
}

// TestActorTestsFindWhatIsWrong plants a mistake in a driver that is a module of its own: asked again after a crash it
// says that the volume is there.
func TestActorTestsFindWhatIsWrong(t *testing.T) {
	dir := begin(t, "storage", scaffold.Go)
	path := filepath.Join(dir, "volume.go")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Replace(text, []byte("info.Size() != size"), []byte("info.Size() >= 0"), 1)
	if bytes.Equal(text, wrong) {
		t.Fatal("the driver does not look at the size any more")
	}
	if err := os.WriteFile(path, wrong, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "test", "-run", "Volumes", ".")
	command.Dir, command.Env = dir, append(os.Environ(), withoutNetwork(runtime.GOARCH)...)
	said, err := command.CombinedOutput()
	if err == nil || !bytes.Contains(said, []byte("create/CreateVolume-1/crash-after")) {
		t.Errorf("the mistake is not found: %v\n%s", err, said)
	}
	if bytes.Contains(said, []byte("create/CreateVolume-1/busy")) {
		t.Errorf("found is more than the mistake:\n%s", said)
	}
}

// TestActorTestsAreAsDocumented holds the Go that vendors read about actor tests to what they get.
func TestActorTestsAreAsDocumented(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "vendors", "actor-tests.md"))
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(filepath.Join("templates", "go-storage", "actors_test.go.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	boxes := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(document, -1)
	if len(boxes) != 3 {
		t.Errorf("the document has %d boxes of Go, want 3", len(boxes))
	}
	for _, box := range boxes {
		if !bytes.Contains(written, box[1]) {
			t.Errorf("a new driver's tests have no\n%s", box[1])
		}
	}
}

// TestDocumentSaysTheSame holds what vendors read about their CI to what they get.
func TestDocumentSaysTheSame(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "vendors", "ci.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range []string{scaffold.Go, scaffold.Python, scaffold.Script} {
		dir := filepath.Join(t.TempDir(), "new")
		if _, err := scaffold.Write(scaffold.Options{
			Name: "acme/shelf", Category: "storage", Language: language, Dir: dir, Version: "1.2.3",
		}); err != nil {
			t.Fatal(err)
		}
		workflow, err := os.ReadFile(filepath.Join(dir, ".github", "workflows", "driver.yml"))
		if err != nil {
			t.Fatal(err)
		}
		if want := bytes.ReplaceAll(workflow, []byte("v1.2.3"), []byte("VERSION")); !bytes.Contains(document, want) {
			t.Errorf("the document has another workflow than\n%s", want)
		}
		makefile, err := os.ReadFile(filepath.Join(dir, "Makefile"))
		if err != nil {
			t.Fatal(err)
		}
		lint := bytes.Index(makefile, []byte("lint: all"))
		rules, _, _ := bytes.Cut(makefile[lint:], []byte("\n\nclean:"))
		if !bytes.Contains(document, rules) {
			t.Errorf("the document has other rules than\n%s", rules)
		}
	}
}
