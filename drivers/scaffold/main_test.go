package scaffold_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/scaffold"
	"github.com/bulkhead-cloud/bulkhead/drivers/script"
)

// TestMain is also the stage that drivers are confined in, and what runs scripts.
func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if dir, ok := script.Asked(); ok {
		os.Exit(script.Main(dir))
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests start drivers as users of their own: run them as root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const patience = 5 * time.Minute

// begin writes a new driver and makes what its Makefile makes before it is tested or packed.
func begin(t *testing.T, category, language string) string {
	t.Helper()
	checkout, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "driver")
	if _, err := scaffold.Write(scaffold.Options{
		Name: "acme/shelf", Category: category, Language: language, Dir: dir, Checkout: checkout, Version: "0.1.0-dev",
	}); err != nil {
		t.Fatal(err)
	}
	if language == scaffold.Python {
		if err := os.CopyFS(filepath.Join(dir, "lib"), os.DirFS(libraries(t, dir))); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	if language == scaffold.Script {
		return dir // it needs nothing
	}
	sums, err := os.ReadFile(filepath.Join(checkout, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// do runs a program in the driver's directory.
func do(t *testing.T, dir string, environment []string, program string, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, program, arguments...)
	command.Dir, command.Env = dir, append(os.Environ(), environment...)
	command.WaitDelay = time.Second
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, arguments, err, said)
	}
}

// withoutNetwork has Go build from what is there.
func withoutNetwork(platform string) []string {
	return []string{"GOFLAGS=-trimpath -mod=mod", "GOPROXY=off", "GOWORK=off", "CGO_ENABLED=0", "GOARCH=" + platform}
}

// libraries fetches those of Python drivers once per user and list of them.
func libraries(t *testing.T, dir string) string {
	t.Helper()
	wanted, err := os.ReadFile(filepath.Join(dir, "requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(cache, "bulkhead-tests", "python-driver")
	list := filepath.Join(kept, "requirements.txt")
	if there, err := os.ReadFile(list); err == nil && bytes.Equal(there, wanted) {
		return filepath.Join(kept, "lib")
	}
	fresh, err := os.MkdirTemp(filepath.Dir(kept), "fresh")
	if os.IsNotExist(err) {
		if err = os.MkdirAll(filepath.Dir(kept), 0o755); err == nil {
			fresh, err = os.MkdirTemp(filepath.Dir(kept), "fresh")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(fresh) })
	do(t, dir, nil, "python3", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
		"--target", filepath.Join(fresh, "lib"), "--no-compile", "--only-binary=:all:", "--platform", "any",
		"--requirement", "requirements.txt")
	if err := os.WriteFile(filepath.Join(fresh, "requirements.txt"), wanted, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(fresh, "lib", "bin")); err != nil {
		t.Fatal(err)
	}
	_ = os.RemoveAll(kept) // an older list
	if err := os.Rename(fresh, kept); err != nil {
		if _, there := os.Stat(list); there != nil { // another run was faster
			t.Fatal(err)
		}
	}
	return filepath.Join(kept, "lib")
}

// unpacked packs a driver and unpacks its archive.
func unpacked(t *testing.T, dir, store string) (*archive.Archive, string) {
	t.Helper()
	var car bytes.Buffer
	if _, err := archive.Pack(t.Context(), dir, &car, archive.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	s, err := archive.OpenStore(store, archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	a, err := s.Unpack(t.Context(), &car, "")
	if err != nil {
		t.Fatal(err)
	}
	return a, s.Dir(a.Digest)
}
