package archive_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

func TestPackIsTheSameBytesForTheSameContent(t *testing.T) {
	one := tree(t, content(t))
	files := content(t)
	files["Makefile"], files["code/__pycache__/driver.pyc"] = "all:", "cache"
	two := tree(t, files)
	old := time.Unix(1e9, 0)
	for _, name := range []string{"driver.yaml", "code/driver", "code"} {
		if err := os.Chtimes(filepath.Join(two, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"code/driver": 0o700, "LICENSE": 0o600, "code": 0o700} {
		if err := os.Chmod(filepath.Join(two, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	first, packing := pack(t, one)
	second, other := pack(t, two)
	if !bytes.Equal(first, second) {
		t.Error("the same content made other bytes")
	}
	if packing.Digest != other.Digest || packing.Bytes != int64(len(first)) || packing.Tree() != other.Tree() {
		t.Errorf("packed %s of %d bytes and %s", packing.Digest, packing.Bytes, other.Digest)
	}
	if want := []string{"Makefile"}; !slices.Equal(other.LeftOut, want) {
		t.Errorf("left out %q, want %q", other.LeftOut, want)
	}
	again, err := archive.Inspect(t.Context(), bytes.NewReader(first), archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest != packing.Digest || again.Declaration.Name != "example/shelf" || len(again.Files) != 10 {
		t.Errorf("read %+v", again)
	}
	if got := again.Messages["de"]["address.label"]; got != "Adresse" {
		t.Errorf("got the message %q", got)
	}
}

func TestPackRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string
	}{
		"link": {func(t *testing.T, dir string) {
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, "code", "link")); err != nil {
				t.Fatal(err)
			}
		}, "code/link is a link"},
		"no licence": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "LICENSE")); err != nil {
				t.Fatal(err)
			}
		}, "LICENSE: it is missing or empty"},
		"no declaration": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "driver.yaml")); err != nil {
				t.Fatal(err)
			}
		}, "driver.yaml: it is missing"},
		"no program": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "code", "driver")); err != nil {
				t.Fatal(err)
			}
		}, "entry.linux/amd64.command: the archive has no file code/driver"},
		"program that is none": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "code", "driver"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "code/driver is not executable"},
		"messages of no language": {func(t *testing.T, dir string) {
			name := filepath.Join(dir, "resources", "messages", "english.json")
			if err := os.WriteFile(name, []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "not named after a language"},
		"name in letters that can be written in two ways": {func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "code", "\u00fc"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "use letters, digits"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, content(t))
			test.change(t, dir)
			_, err := archive.Pack(t.Context(), dir, &bytes.Buffer{}, archive.DefaultLimits())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}
