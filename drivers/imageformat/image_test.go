package imageformat_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
)

// inspect asks about bytes in memory.
func inspect(t testing.TB, content []byte, declared imageformat.Format) (imageformat.Image, error) {
	t.Helper()
	return imageformat.Inspect(t.Context(), bytes.NewReader(content), int64(len(content)), declared,
		imageformat.Limits{})
}

// code is the code of a refusal, "" for none, and the words of any other error.
func code(err error) string {
	if err == nil {
		return ""
	}
	if refusal := imageformat.RefusalOf(err); refusal != nil {
		return refusal.Code
	}
	return "not a refusal: " + err.Error()
}

// disk makes content of a size that begins with head.
func disk(size int, head string) []byte {
	content := make([]byte, size)
	copy(content, head)
	return content
}

// at puts bytes at a place.
func at(content []byte, offset int, what string) []byte {
	copy(content[offset:], what)
	return content
}

func TestRawIsWhatHasNoOtherSignature(t *testing.T) {
	t.Parallel()
	const size = 128 << 10
	bootSector := at(disk(size, "\xeb\x63\x90\x10\x8e\xd0"), 510, "\x55\xaa")
	page := "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>" +
		strings.Repeat("nothing here ", 80) + "</body></html>"
	descriptor := "# Disk DescriptorFile\nversion=1\n" + strings.Repeat("RW 1 FLAT \"/etc/shadow\"\n", 30)
	commented := "# comment\nversion=1\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/passwd\" 0\n"
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"zeros":                 {disk(size, ""), ""},
		"boot sector":           {bootSector, ""},
		"gpt":                   {at(bootSector, 512, "EFI PART"), ""},
		"ext4 superblock":       {at(disk(size, ""), 1024+56, "\x53\xef"), ""},
		"one sector":            {disk(512, "\x01"), ""},
		"empty":                 {nil, imageformat.CodeNotAnImage},
		"less than a sector":    {disk(511, "\x01"), imageformat.CodeNotAnImage},
		"web page":              {[]byte(page), imageformat.CodeNotAnImage},
		"short error text":      {[]byte("Not found\n"), imageformat.CodeNotAnImage},
		"text in utf-8":         {[]byte(strings.Repeat("übermäßig ", 200)), imageformat.CodeNotAnImage},
		"json":                  {[]byte(`{"error":"` + strings.Repeat("x", 600) + `"}`), imageformat.CodeNotAnImage},
		"gzip":                  {disk(size, "\x1f\x8b\x08\x00"), imageformat.CodeNotAnImage},
		"xz":                    {disk(size, "\xfd7zXZ\x00"), imageformat.CodeNotAnImage},
		"zip":                   {disk(size, "PK\x03\x04"), imageformat.CodeNotAnImage},
		"tar":                   {at(disk(size, "disk.ovf"), 257, "ustar"), imageformat.CodeNotAnImage},
		"executable":            {disk(size, "\x7fELF"), imageformat.CodeNotAnImage},
		"qcow2":                 {disk(size, "QFI\xfb\x00\x00\x00\x03"), imageformat.CodeMismatch},
		"qed":                   {disk(size, "QED\x00"), imageformat.CodeMismatch},
		"vmdk sparse":           {disk(size, "KDMV"), imageformat.CodeMismatch},
		"vmdk descriptor":       {[]byte(descriptor), imageformat.CodeMismatch},
		"vmdk other first line": {[]byte(commented), imageformat.CodeMismatch},
		"vdi":                   {at(disk(size, "<<< Oracle VM"), 64, "\x7f\x10\xda\xbe"), imageformat.CodeMismatch},
		"vhdx":                  {disk(size, "vhdxfile"), imageformat.CodeMismatch},
		"vhd dynamic":           {disk(size, "conectix"), imageformat.CodeMismatch},
		"vhd fixed":             {at(disk(size, "\xeb\x63\x90"), size-512, "conectix"), imageformat.CodeMismatch},
		"dmg":                   {at(disk(size, "\xeb\x63\x90"), size-512, "koly"), imageformat.CodeMismatch},
		"luks":                  {disk(size, "LUKS\xba\xbe"), imageformat.CodeMismatch},
		"parallels":             {disk(size, "WithoutFreeSpace"), imageformat.CodeMismatch},
		"iso":                   {at(disk(size, ""), 32769, "CD001"), imageformat.CodeMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, err := inspect(t, test.content, imageformat.Raw)
			if got := code(err); got != test.want {
				t.Fatalf("refusal = %q (%v), want %q", got, err, test.want)
			}
			if err == nil && image.VirtualBytes != int64(len(test.content)) {
				t.Errorf("virtual bytes = %d, want %d", image.VirtualBytes, len(test.content))
			}
		})
	}
}

func TestRawSizeIsWholeSectors(t *testing.T) {
	t.Parallel()
	image, err := inspect(t, disk(1025, "\x01"), imageformat.Raw)
	if err != nil || image.VirtualBytes != 1536 || image.FileBytes != 1025 {
		t.Errorf("1025 bytes give %+v, %v; want 1536 virtual", image, err)
	}
}

// isoImage is the smallest ISO 9660 volume that names its size.
func isoImage(blocks uint32) []byte {
	content := disk(64<<10, "")
	at(content, 32768, "\x01CD001\x01")
	binary.LittleEndian.PutUint32(content[32768+80:], blocks)
	binary.LittleEndian.PutUint16(content[32768+128:], 2048)
	at(content, 34816, "\xffCD001\x01")
	return content
}

func TestISO(t *testing.T) {
	t.Parallel()
	noSize := isoImage(0)
	noPrimary := isoImage(32)
	noPrimary[32768] = 2
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"plain":                 {isoImage(32), ""},
		"hybrid with partition": {at(at(isoImage(32), 0, "\x45\x52\x08"), 510, "\x55\xaa"), ""},
		"smaller than it says":  {isoImage(33), imageformat.CodeTruncated},
		"no size":               {noSize, imageformat.CodeMalformed},
		"no primary descriptor": {noPrimary, imageformat.CodeMalformed},
		"no identifier":         {disk(64<<10, ""), imageformat.CodeNotAnImage},
		"too short":             {disk(1024, ""), imageformat.CodeNotAnImage},
		"qcow2 in front":        {at(isoImage(32), 0, "QFI\xfb"), imageformat.CodeMismatch},
		"vmdk in front":         {at(isoImage(32), 0, "KDMV"), imageformat.CodeMismatch},
		"web page":              {[]byte("<html><body>moved</body></html>"), imageformat.CodeNotAnImage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := inspect(t, test.content, imageformat.ISO); code(err) != test.want {
				t.Errorf("refusal = %q (%v), want %q", code(err), err, test.want)
			}
		})
	}
}

func TestUnknownFormatIsRefusedWithoutEchoingIt(t *testing.T) {
	t.Parallel()
	_, err := inspect(t, disk(1024, ""), imageformat.Format("vmdk\x1b[31m\n"+strings.Repeat("x", 100)))
	if code(err) != imageformat.CodeUnknownFormat {
		t.Fatalf("refusal = %q, want %q", code(err), imageformat.CodeUnknownFormat)
	}
	if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 120 {
		t.Errorf("the refusal carries the declared name: %q", err)
	}
}

// brokenDisk fails to be read, as a dying device does.
type brokenDisk struct{}

func (brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

func TestReadErrorsAreNotRefusals(t *testing.T) {
	t.Parallel()
	_, err := imageformat.Inspect(t.Context(), brokenDisk{}, 1<<20, imageformat.Raw, imageformat.Limits{})
	if err == nil || imageformat.RefusalOf(err) != nil {
		t.Errorf("error = %v, want one that is no refusal: the image is not to blame", err)
	}
}

func TestFileShorterThanItsSizeIsTruncated(t *testing.T) {
	t.Parallel()
	_, err := imageformat.Inspect(t.Context(), bytes.NewReader(disk(1024, "\x01")), 1<<20, imageformat.Raw,
		imageformat.Limits{})
	if code(err) != imageformat.CodeTruncated {
		t.Errorf("refusal = %q, want %q", code(err), imageformat.CodeTruncated)
	}
}

func TestLimitOfTheDisk(t *testing.T) {
	t.Parallel()
	_, err := imageformat.Inspect(t.Context(), bytes.NewReader(disk(1<<20, "\x01")), 1<<20, imageformat.Raw,
		imageformat.Limits{MaxVirtualBytes: 1<<20 - 1})
	if code(err) != imageformat.CodeTooLarge {
		t.Errorf("refusal = %q, want %q", code(err), imageformat.CodeTooLarge)
	}
}

// countingDisk counts what is read of it.
type countingDisk struct {
	io.ReaderAt
	read int64
}

func (c *countingDisk) ReadAt(b []byte, offset int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, offset)
	c.read += int64(n)
	return n, err
}

func TestRawIsNotReadThrough(t *testing.T) {
	t.Parallel()
	file := &countingDisk{ReaderAt: bytes.NewReader(disk(8<<20, "\x01"))}
	if _, err := imageformat.Inspect(t.Context(), file, 8<<20, imageformat.Raw, imageformat.Limits{}); err != nil {
		t.Fatal(err)
	}
	if file.read > 128<<10 {
		t.Errorf("inspecting a raw disk read %d bytes, want only its ends", file.read)
	}
}

func TestInspectionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	content := qcow2Image(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := imageformat.Inspect(ctx, bytes.NewReader(content), int64(len(content)), imageformat.QCOW2,
		imageformat.Limits{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}
