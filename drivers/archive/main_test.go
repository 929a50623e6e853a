package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

// testTime bounds what must end soon.
const testTime = time.Minute

// TestMain is also the child that unpacks and is killed. It sees to it that no goroutine is left.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "unpack" {
		if err := unpack(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// full is the driver.yaml that says all there is to say.
func full(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "driver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// content is the files of the driver of full; a name that ends in ! is executable.
func content(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{
		"driver.yaml": string(full(t)), "LICENSE": "Do what you like.\n", "CHANGELOG.md": "# 1.4.0\n",
		"code/driver!": "\x7fELF", "code/driver.py": "print()\n", "code/tool!": "#!/bin/sh\n",
		"code/exporter!": "\x7fELF", "lib/deep/er/thing.py": "pass\n",
		"resources/messages/en.json": `{"address.label": "Address", "address.description": "Where it is."}`,
		"resources/messages/de.json": `{"address.label": "Adresse"}`,
	}
}

// tree writes files below a new directory.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		mode := os.FileMode(0o644)
		if trimmed, ok := bytes.CutSuffix([]byte(name), []byte("!")); ok {
			name, mode = string(trimmed), 0o755
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pack(t testing.TB, dir string) ([]byte, *archive.Packing) {
	t.Helper()
	var car bytes.Buffer
	packing, err := archive.Pack(context.Background(), dir, &car, archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return car.Bytes(), packing
}

func openStore(t testing.TB, dir string) *archive.Store {
	t.Helper()
	store, err := archive.OpenStore(dir, archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}
