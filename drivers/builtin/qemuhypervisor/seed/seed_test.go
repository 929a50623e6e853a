package seed_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/seed"
)

func TestWrite(t *testing.T) {
	cases := map[string]struct {
		content seed.Content
		files   map[string]string
	}{
		"all": {
			content: seed.Content{MetaData: "instance-id: a\n", UserData: "#!/bin/sh\n", NetworkConfig: "version: 2\n"},
			files: map[string]string{
				"meta-data": "instance-id: a\n", "user-data": "#!/bin/sh\n", "network-config": "version: 2\n",
			},
		},
		"meta-data only": {
			content: seed.Content{MetaData: "instance-id: a\n"},
			files:   map[string]string{"meta-data": "instance-id: a\n", "user-data": "#cloud-config\n{}\n"},
		},
		"long": {
			content: seed.Content{MetaData: "a: b\n", UserData: strings.Repeat("0123456789abcdef", 60_000)},
			files:   map[string]string{"meta-data": "a: b\n", "user-data": strings.Repeat("0123456789abcdef", 60_000)},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			image := filepath.Join(dir, "seed.iso")
			for range 2 { // the second one replaces the first
				if err := seed.Write(image, dir, c.content); err != nil {
					t.Fatalf("writing: %v", err)
				}
			}
			if info, err := os.Stat(image); err != nil || info.Size()%2048 != 0 {
				t.Errorf("the image has %d bytes, %v; want whole blocks", info.Size(), err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("%d files left, want the image only", len(left))
			}
			for _, extension := range []string{"-R", "-J"} { // Rock Ridge, Joliet
				for file, want := range c.files {
					if got := isoinfo(t, "-i", image, extension, "-x", "/"+file); got != want {
						t.Errorf("%s with %s: %d bytes, want %d", file, extension, len(got), len(want))
					}
				}
				list := strings.Fields(isoinfo(t, "-i", image, extension, "-f"))
				if len(list) != len(c.files) {
					t.Errorf("files with %s: %q, want %d", extension, list, len(c.files))
				}
			}
			if head := isoinfo(t, "-i", image, "-d"); !strings.Contains(head, "Volume id: cidata") {
				t.Errorf("no label cidata in:\n%s", head)
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "seed.iso")
	huge := seed.Content{MetaData: "a: b", UserData: strings.Repeat("x", seed.MaxBytes+1)}
	if err := seed.Write(image, dir, huge); !errors.Is(err, seed.ErrTooLarge) {
		t.Errorf("error = %v, want too large", err)
	}
	if err := seed.Write(image, dir, seed.Content{}); !errors.Is(err, seed.ErrNoMetaData) {
		t.Errorf("error = %v, want no meta-data", err)
	}
	if err := seed.Write(image, filepath.Join(dir, "nowhere"), seed.Content{MetaData: "a: b"}); err == nil {
		t.Error("no error without a scratch directory")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files left", len(left))
	}
}

// isoinfo reads the image with a program that is not ours.
func isoinfo(t *testing.T, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("isoinfo")
	if err != nil {
		t.Fatal("this test needs isoinfo: apt-get install -y genisoimage")
	}
	output, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("isoinfo %q: %v", args, err)
	}
	return string(output)
}
