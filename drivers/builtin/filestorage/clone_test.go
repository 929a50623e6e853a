package filestorage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

func TestCloneOfEachFormatIntoEach(t *testing.T) {
	t.Parallel()
	sources := map[string]string{
		"raw": template(t, "raw"), "qcow2": template(t, "qcow2"),
	}
	compressed := template(t, "qcow2", "-c", "-o", "compression_type=zstd")
	want := contentHash(t, sources["raw"], "raw")
	pools(t, func(t *testing.T, s *site) {
		n := 0
		for from, path := range map[string]string{"raw": sources["raw"], "qcow2": sources["qcow2"], "zstd": compressed} {
			for _, format := range []string{"raw", "qcow2"} {
				n++
				id := "vol-" + string(rune('a'+n))
				declared := from
				if from == "zstd" {
					declared = "qcow2"
				}
				made := s.create(s.clone(id, format, 0, path, declared))
				if made.GetSizeBytes() != 6*mebibyte {
					t.Errorf("%s as %s: %d bytes, want the source's", from, format, made.GetSizeBytes())
				}
				if got := contentHash(t, made.GetDisk().GetPath(), format); got != want {
					t.Errorf("%s as %s: the content differs", from, format)
				}
				diskOK(t, made.GetDisk())
				larger := s.create(s.clone(id+"-larger", format, 1<<34, path, declared))
				if larger.GetSizeBytes() != 1<<34 || larger.GetAllocatedBytes() > 8*mebibyte {
					t.Errorf("%s as %s, larger: %d bytes that take %d", from, format, larger.GetSizeBytes(),
						larger.GetAllocatedBytes())
				}
				diskOK(t, larger.GetDisk())
			}
		}
	})
}

func TestISOIsClonedAsItIs(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	made := s.create(s.clone("vol-1", "raw", 0, template(t, "raw"), "iso"))
	if made.GetDisk().GetFormat() != "raw" || made.GetSizeBytes() != 6*mebibyte {
		t.Errorf("made %v", made)
	}
}

// TestRawIsNeverProbed clones a raw disk whose guest wrote a qcow2 header into it. It stays what it is.
func TestRawIsNeverProbed(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	hostile := filepath.Join(t.TempDir(), "hostile")
	qemu(t, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/hostname", "-F", "raw", hostile, "1M")
	want := contentHash(t, hostile, "raw")
	for _, format := range []string{"raw", "qcow2"} {
		made := s.create(s.clone("vol-"+format, format, 0, hostile, "raw"))
		content := filepath.Join(t.TempDir(), "content")
		qemu(t, "qemu-img", "convert", "-f", format, "-O", "raw", made.GetDisk().GetPath(), content)
		info, err := os.Stat(hostile)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(content, info.Size()); err != nil {
			t.Fatal(err)
		}
		if got := contentHash(t, content, "raw"); got != want {
			t.Errorf("as %s: the bytes of a raw disk were not kept", format)
		}
	}
}

// TestHostileTemplatesAreRefused gives images that name other files.
func TestHostileTemplatesAreRefused(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.raw")
	if err := os.WriteFile(secret, make([]byte, mebibyte), 0o600); err != nil {
		t.Fatal(err)
	}
	backed, split := filepath.Join(dir, "backed"), filepath.Join(dir, "split")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", backed)
	// Both names lie in the test's directory: creating the image truncates the data file.
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data"), split, "1M")
	for name, path := range map[string]string{"backing file": backed, "data file": split} {
		for _, format := range []string{"raw", "qcow2"} {
			_, err := s.driver.Storage.CreateVolume(t.Context(), s.clone("vol-1", format, 0, path, "qcow2"))
			if fault := expectFault(t, err, invalid, "image-refers-to-file"); fault.GetField() != "/templateId" {
				t.Errorf("%s: field = %q", name, fault.GetField())
			}
		}
	}
	s.nothingLeft()
}

func TestSharingBlocksTakesNoSpace(t *testing.T) {
	t.Parallel()
	s := openSite(t, diskdirtest.Mount(t, diskdirtest.XFS, diskdirtest.SmallestXFS), nil)
	s.create(s.clone("vol-1", "raw", 0, bigTemplate(t, 100), "raw"))
	before := stat(t, s)
	for i := range 10 { // a gigabyte, on a third of one
		s.take("snap-"+string(rune('a'+i)), "vol-1")
	}
	if after := stat(t, s); after > before+8*mebibyte {
		t.Errorf("ten snapshots take %d MiB", (after-before)>>20)
	}
}

// bigTemplate makes a raw disk full of data.
func bigTemplate(t drivertest.T, mebibytes int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "big.raw")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	block := make([]byte, mebibyte)
	for i := range block {
		block[i] = byte(i*i>>7 + i + 1)
	}
	for range mebibytes {
		if _, err := file.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
