package imageformat_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
)

// qemuImg runs qemu-img in a directory of the test's own, where every name it is given lies.
func qemuImg(t *testing.T, dir string, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Fatal("qemu-img is missing: install the package qemu-utils")
	}
	for {
		command := exec.CommandContext(t.Context(), tool, args...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err == nil {
			return
		}
		// On a busy processor QEMU can't measure how fast it derives a key of LUKS, says so and makes nothing.
		if !strings.Contains(string(out), "Unable to get accurate CPU usage") {
			t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
		}
	}
}

func inspectFile(t *testing.T, path string, declared imageformat.Format) (imageformat.Image, error) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return imageformat.Inspect(t.Context(), file, info.Size(), declared, imageformat.Limits{})
}

// TestImagesOfQemuImg inspects what the real tool makes, good and hostile.
func TestImagesOfQemuImg(t *testing.T) {
	t.Parallel()
	create := func(args ...string) [][]string {
		return [][]string{append(append([]string{"create", "-q"}, args...), "out", "64M")}
	}
	convert := func(args ...string) [][]string {
		return [][]string{append(append([]string{"convert", "-q", "-f", "raw"}, args...), "source.raw", "out")}
	}
	luks := []string{"create", "-q", "--object", "secret,id=s,data=secret", "-f"}
	run := func(args ...string) [][]string { return [][]string{append([]string{"create", "-q"}, args...)} }
	snapshot := append(convert("-O", "qcow2"), []string{"snapshot", "-c", "one", "out"})
	based := run("-f", "qcow2", "-b", "source.raw", "-F", "raw", "out")
	for name, test := range map[string]struct {
		runs     [][]string
		declared imageformat.Format
		want     string
	}{
		"empty":              {create("-f", "qcow2"), imageformat.QCOW2, ""},
		"preallocated":       {create("-f", "qcow2", "-o", "preallocation=metadata"), imageformat.QCOW2, ""},
		"small clusters":     {create("-f", "qcow2", "-o", "cluster_size=512"), imageformat.QCOW2, ""},
		"large clusters":     {create("-f", "qcow2", "-o", "cluster_size=2M"), imageformat.QCOW2, ""},
		"version 2":          {create("-f", "qcow2", "-o", "compat=0.10"), imageformat.QCOW2, ""},
		"extended L2":        {create("-f", "qcow2", "-o", "extended_l2=on"), imageformat.QCOW2, ""},
		"lazy refcounts":     {create("-f", "qcow2", "-o", "lazy_refcounts=on"), imageformat.QCOW2, ""},
		"refcounts of 1 bit": {create("-f", "qcow2", "-o", "refcount_bits=1"), imageformat.QCOW2, ""},
		"converted":          {convert("-O", "qcow2"), imageformat.QCOW2, ""},
		"converted extended": {convert("-O", "qcow2", "-o", "extended_l2=on"), imageformat.QCOW2, ""},
		"compressed":         {convert("-O", "qcow2", "-c"), imageformat.QCOW2, ""},
		"compressed by zstd": {convert("-O", "qcow2", "-c", "-o", "compression_type=zstd"), imageformat.QCOW2, ""},
		"raw":                {convert("-O", "raw"), imageformat.Raw, ""},
		"qcow2 called raw":   {create("-f", "qcow2"), imageformat.Raw, imageformat.CodeMismatch},
		"raw called qcow2":   {convert("-O", "raw"), imageformat.QCOW2, imageformat.CodeNotAnImage},
		"vmdk called raw":    {convert("-O", "vmdk"), imageformat.Raw, imageformat.CodeMismatch},
		"vmdk flat": {
			convert("-O", "vmdk", "-o", "subformat=monolithicFlat"), imageformat.Raw, imageformat.CodeMismatch,
		},
		"vdi called raw": {convert("-O", "vdi"), imageformat.Raw, imageformat.CodeMismatch},
		"vhd called raw": {convert("-O", "vpc"), imageformat.Raw, imageformat.CodeMismatch},
		"fixed vhd": {
			convert("-O", "vpc", "-o", "subformat=fixed"), imageformat.Raw, imageformat.CodeMismatch,
		},
		"vhdx called raw":  {convert("-O", "vhdx"), imageformat.Raw, imageformat.CodeMismatch},
		"qed called qcow2": {convert("-O", "qed"), imageformat.QCOW2, imageformat.CodeMismatch},
		"qcow version 1":   {convert("-O", "qcow"), imageformat.QCOW2, imageformat.CodeFeature},
		"luks": {
			[][]string{append(slices.Clone(luks), "luks", "-o", "key-secret=s,iter-time=10", "out", "1M")},
			imageformat.Raw,
			imageformat.CodeMismatch,
		},
		"qcow2 with luks": {
			[][]string{append(
				slices.Clone(luks), "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "out", "1M",
			)}, imageformat.QCOW2, imageformat.CodeEncrypted,
		},
		"backing file": {based, imageformat.QCOW2, imageformat.CodeExternal},
		"backing elsewhere": {
			run("-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "out", "1M"), imageformat.QCOW2,
			imageformat.CodeExternal,
		},
		"backing json": {
			run("-u", "-f", "qcow2", "-b", `json:{"driver":"file","filename":"/etc/passwd"}`, "-F", "raw", "out", "1M"),
			imageformat.QCOW2, imageformat.CodeExternal,
		},
		// The name is relative to the directory of the test: creating it truncates the file named.
		"data file": {
			run("-f", "qcow2", "-o", "data_file=data.raw,data_file_raw=on", "out", "1M"), imageformat.QCOW2,
			imageformat.CodeExternal,
		},
		"internal snapshot": {snapshot, imageformat.QCOW2, imageformat.CodeSnapshots},
		"flattened snapshot": {
			append(slices.Clone(snapshot), []string{"snapshot", "-d", "one", "out"}), imageformat.QCOW2, "",
		},
		"rebased to nothing": {
			append(slices.Clone(based), []string{"rebase", "-q", "-f", "qcow2", "-b", "", "out"}), imageformat.QCOW2, "",
		},
		"with a bitmap": {
			append(create("-f", "qcow2"), []string{"bitmap", "--add", "-f", "qcow2", "out", "b"}), imageformat.QCOW2, "",
		},
		"grown": {
			append(convert("-O", "qcow2"), []string{"resize", "-q", "-f", "qcow2", "out", "4T"}), imageformat.QCOW2, "",
		},
		"65 TiB": {
			run("-f", "qcow2", "-o", "cluster_size=2M", "out", "65T"), imageformat.QCOW2, imageformat.CodeTooLarge,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			source := at(disk(4<<20, "\xeb\x63\x90"), 3<<20, "some data far behind")
			if err := os.WriteFile(filepath.Join(dir, "source.raw"), source, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range test.runs {
				qemuImg(t, dir, args...)
			}
			if _, err := inspectFile(t, filepath.Join(dir, "out"), test.declared); code(err) != test.want {
				t.Errorf("refusal = %q (%v), want %q", code(err), err, test.want)
			}
		})
	}
}

// TestCutDownloads cuts a real image at many places: none may pass that lost anything it points to.
func TestCutDownloads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := make([]byte, 3<<20)
	for i := range source {
		source[i] = byte(i*i>>3 + 1)
	}
	if err := os.WriteFile(filepath.Join(dir, "source.raw"), source, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"plain":      {"convert", "-q", "-f", "raw", "-O", "qcow2", "source.raw", "plain"},
		"compressed": {"convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "source.raw", "compressed"},
	} {
		qemuImg(t, dir, args...)
		whole, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inspect(t, whole, imageformat.QCOW2); err != nil {
			t.Fatalf("%s: the whole image: %v", name, err)
		}
		for size := 1; size < len(whole)-64<<10; size += len(whole)/40 + 17 {
			if _, err := inspect(t, whole[:size], imageformat.QCOW2); imageformat.RefusalOf(err) == nil {
				t.Errorf("%s: cut to %d of %d bytes: %v", name, size, len(whole), err)
			}
		}
	}
}

func TestISOOfARealTool(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("genisoimage")
	if err != nil {
		t.Fatal("genisoimage is missing: install the package genisoimage")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "meta-data"), []byte("instance-id: one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), tool, "-quiet", "-o", "out.iso", "-V", "cidata", "-J", "-r", "meta-data")
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("genisoimage: %v\n%s", err, out)
	}
	if _, err := inspectFile(t, filepath.Join(dir, "out.iso"), imageformat.ISO); err != nil {
		t.Errorf("a real iso: %v", err)
	}
}
