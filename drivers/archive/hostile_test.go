package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

// car writes an archive by hand: what full needs, then entries.
type car struct {
	t       *testing.T
	text    bytes.Buffer
	entries *tar.Writer
}

func newCar(t *testing.T, files map[string]string) *car {
	c := &car{t: t}
	c.entries = tar.NewWriter(&c.text)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := plain(strings.TrimSuffix(name, "!"))
		if strings.HasSuffix(name, "!") {
			header.Mode = 0o755
		}
		c.add(header, files[name])
	}
	return c
}

func plain(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Format: tar.FormatUSTAR}
}

func (c *car) add(header tar.Header, text string) {
	c.t.Helper()
	if header.Typeflag == tar.TypeReg {
		header.Size = int64(len(text))
	}
	if err := c.entries.WriteHeader(&header); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.WriteString(c.entries, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *car) tar() []byte {
	c.t.Helper()
	if err := c.entries.Close(); err != nil {
		c.t.Fatal(err)
	}
	return c.text.Bytes()
}

func zipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	if _, err := writer.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return compressed.Bytes()
}

// small are limits that tests reach quickly.
func small() archive.Limits {
	return archive.Limits{
		ArchiveBytes: 1 << 20, TotalBytes: 64 << 20, FileBytes: 4 << 20, Files: 100, PathBytes: 80, Depth: 6, Ratio: 100,
	}
}

// entry is a hostile archive of one header behind proper content.
func entry(header tar.Header, text string) func(t *testing.T) []byte {
	return func(t *testing.T) []byte {
		c := newCar(t, content(t))
		c.add(header, text)
		return zipped(t, c.tar())
	}
}

func special(kind byte, name, link string) func(t *testing.T) []byte {
	return entry(tar.Header{
		Typeflag: kind, Name: name, Linkname: link, Mode: 0o644, Format: tar.FormatUSTAR,
	}, "")
}

func named(name string) func(t *testing.T) []byte { return entry(plain(name), "x") }

func moded(mode int64) func(t *testing.T) []byte {
	header := plain("code/odd")
	header.Mode = mode
	return entry(header, "x")
}

// raw writes a header that the tar writer would refuse to write.
func raw(change func(block []byte)) func(t *testing.T) []byte {
	return func(t *testing.T) []byte {
		c := newCar(t, content(t))
		c.add(plain("code/raw"), strings.Repeat("x", 512))
		text := bytes.Clone(c.tar())
		at := bytes.LastIndex(text, []byte("code/raw"))
		block := text[at : at+512]
		change(block)
		copy(block[148:156], "        ")
		sum := 0
		for _, b := range block {
			sum += int(b)
		}
		copy(block[148:156], []byte("0"+strconv.FormatInt(int64(sum)+1<<18, 8)[1:]+"\x00 "))
		return zipped(t, text)
	}
}

func hostile() map[string]struct {
	car  func(t *testing.T) []byte
	want string
} {
	without := func(name string) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			files := content(t)
			delete(files, name)
			return zipped(t, newCar(t, files).tar())
		}
	}
	both := func(first, second string) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			c := newCar(t, content(t))
			c.add(plain(first), "1")
			c.add(plain(second), "2")
			return zipped(t, c.tar())
		}
	}
	behind := func(more []byte) func(t *testing.T) []byte {
		return func(t *testing.T) []byte { return append(zipped(t, newCar(t, content(t)).tar()), more...) }
	}
	inTar := func(more []byte) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			return zipped(t, append(bytes.Clone(newCar(t, content(t)).tar()), more...))
		}
	}
	pax := plain("code/pax")
	pax.Format, pax.PAXRecords = tar.FormatPAX, map[string]string{"VENDOR.x": "y"}
	gnu := plain("code/" + strings.Repeat("g", 150))
	gnu.Format = tar.FormatGNU
	return map[string]struct {
		car  func(t *testing.T) []byte
		want string
	}{
		"traversal":                {named("../../etc/cron.d/x"), "not a plain relative path"},
		"traversal inside":         {named("code/../../x"), "not a plain relative path"},
		"dot":                      {named("code/./x"), "not a plain relative path"},
		"empty part":               {named("code//x"), "not a plain relative path"},
		"absolute":                 {named("/etc/passwd"), "not a plain relative path"},
		"backslash":                {named(`code\..\x`), "use letters"},
		"drive":                    {named("code/c:x"), "use letters"},
		"control character":        {named("code/a\nb"), "not a plain relative path"},
		"terminal escape":          {named("code/\x1b[2J"), "not a plain relative path"},
		"trailing dot":             {named("code/x."), "some systems drop"},
		"trailing space":           {named("code/x /y"), "some systems drop"},
		"long name":                {named("code/" + strings.Repeat("n", 76)), "more than 80"},
		"deep":                     {named("code/1/2/3/4/5/6"), "more than 6 directories deep"},
		"stray at the top":         {named(".bashrc"), "does not belong there"},
		"the store's own list":     {named("files.json"), "does not belong there"},
		"code that is a file":      {both("lib", "x"), "does not belong there"},
		"a licence that is a tree": {without("LICENSE"), "LICENSE: it is missing"},
		"symlink":                  {special(tar.TypeSymlink, "code/link", "/etc/passwd"), "is a link"},
		"symlink, then through it": {func(t *testing.T) []byte {
			c := newCar(t, content(t))
			c.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "code/up", Linkname: "..", Format: tar.FormatUSTAR}, "")
			c.add(plain("code/up/x"), "x")
			return zipped(t, c.tar())
		}, "is a link"},
		"hard link":        {special(tar.TypeLink, "code/link", "code/driver"), "is a link"},
		"character device": {special(tar.TypeChar, "code/dev", ""), "neither a file nor"},
		"block device":     {special(tar.TypeBlock, "code/dev", ""), "neither a file nor"},
		"fifo":             {special(tar.TypeFifo, "code/fifo", ""), "neither a file nor"},
		"contiguous file":  {raw(func(b []byte) { b[156] = '7' }), "neither a file nor"},
		"old GNU sparse":   {raw(func(b []byte) { b[156] = 'S' }), ""},
		"unknown type":     {raw(func(b []byte) { b[156] = 'Z' }), "neither a file nor"},
		"vendor's type":    {raw(func(b []byte) { b[156] = 'M' }), "neither a file nor"},
		"file with a link": {raw(func(b []byte) { copy(b[157:], "/etc/passwd") }), "a link or a device"},
		"name of bytes":    {raw(func(b []byte) { copy(b, "code/\xff\xfe") }), "not plain ustar"},
		"huge size": {raw(func(b []byte) {
			copy(b[124:136], "77777777777\x00")
		}), "more than"},
		"negative size": {raw(func(b []byte) {
			copy(b[124:136], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
		}), "invalid tar header"},
		"V7 header":  {raw(func(b []byte) { clear(b[257:265]) }), "not plain ustar"},
		"GNU header": {raw(func(b []byte) { copy(b[257:265], "ustar  \x00") }), "not plain ustar"},
		"setuid":     {moded(0o4755), "setuid"},
		"setgid":     {moded(0o2755), "setuid"},
		"sticky":     {moded(0o1755), "setuid"},
		"PAX record": {entry(pax, "x"), "not plain ustar"},
		"PAX for all": {entry(tar.Header{
			Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "/etc/passwd"}, Format: tar.FormatPAX,
		}, ""), "neither a file nor"},
		"PAX sparse":                {paxSparse, ""},
		"GNU long name":             {entry(gnu, "x"), "not plain ustar"},
		"twice":                     {both("code/x", "code/x"), "in it twice"},
		"declaration twice":         {named("driver.yaml"), "in it twice"},
		"case clash":                {both("code/x", "code/X"), "differ only in case"},
		"case clash of directories": {both("code/x/a", "code/X/b"), "differ only in case"},
		"case clash at the top":     {both("Driver.yaml", "x"), "does not belong there"},
		"composed letters":          {raw(func(b []byte) { copy(b, "code/e\u0301") }), "not plain ustar"},
		"file and directory":        {both("code/x", "code/x/y"), "a file and a directory"},
		"directory and file":        {both("code/x/y", "code/x"), "a file and a directory"},
		"file and empty directory": {func(t *testing.T) []byte {
			c := newCar(t, content(t))
			c.add(tar.Header{Typeflag: tar.TypeDir, Name: "code/x/", Mode: 0o755, Format: tar.FormatUSTAR}, "")
			c.add(plain("code/x"), "x")
			return zipped(t, c.tar())
		}, "a file and a directory"},
		"no declaration": {without("driver.yaml"), "driver.yaml: it is missing"},
		"no licence":     {without("LICENSE"), "LICENSE: it is missing"},
		"no program":     {without("code/driver!"), "no file code/driver"},
		"too many files": {func(t *testing.T) []byte {
			c := newCar(t, content(t))
			for n := range 100 {
				c.add(plain("code/f"+strconv.Itoa(n)), "")
			}
			return zipped(t, c.tar())
		}, "more than 100 files"},
		"bomb": {func(t *testing.T) []byte {
			c := newCar(t, content(t))
			for n := range 7 {
				c.add(plain("code/zeros"+strconv.Itoa(n)), strings.Repeat("\x00", 3<<20))
			}
			return zipped(t, c.tar())
		}, "times its size"},
		"one large file": {func(t *testing.T) []byte {
			c := newCar(t, content(t))
			c.add(plain("code/zeros"), strings.Repeat("\x00", 5<<20))
			return zipped(t, c.tar())
		}, "more than"},
		"bomb behind the last file": {inTar(make([]byte, 2<<20)), "behind the last file"},
		"data behind the last file": {inTar([]byte("secret")), "behind the last file"},
		"second gzip member": {func(t *testing.T) []byte {
			return append(zipped(t, newCar(t, content(t)).tar()), zipped(t, []byte("more"))...)
		}, "behind the compressed data"},
		"data behind the compression": {behind([]byte{0}), "behind the compressed data"},
		"larger than allowed": {func(t *testing.T) []byte {
			c := newCar(t, content(t))
			noise := make([]byte, 2<<20)
			rand.NewChaCha8([32]byte{}).Read(noise)
			c.add(plain("code/noise"), string(noise))
			return zipped(t, c.tar())
		}, "larger than 1048576"},
		"not compressed": {func(t *testing.T) []byte { return newCar(t, content(t)).tar() }, "not gzip"},
		"nothing":        {func(*testing.T) []byte { return nil }, "not gzip"},
		"cut short": {func(t *testing.T) []byte {
			c := zipped(t, newCar(t, content(t)).tar())
			return c[:len(c)-9]
		}, "EOF"},
		"changed": {func(t *testing.T) []byte {
			c := zipped(t, newCar(t, content(t)).tar())
			c[len(c)-6] ^= 1
			return c
		}, "checksum"},
		"no tar": {func(t *testing.T) []byte {
			return zipped(t, []byte(strings.Repeat("no tar", 200)))
		}, "invalid tar header"},
		"empty tar": {func(t *testing.T) []byte { return zipped(t, nil) }, "driver.yaml: it is missing"},
		"declaration bad": {func(t *testing.T) []byte {
			return changed(t, "driver.yaml", "a: &a [*a, *a]")
		}, "anchors and aliases"},
		"declaration huge": {func(t *testing.T) []byte {
			return changed(t, "driver.yaml", strings.Repeat("# long\n", 100000))
		}, "more than 262144"},
		"program of another platform": {func(t *testing.T) []byte {
			arm := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\xb7\x00"
			return changed(t, "code/driver!", arm)
		}, "entry.linux/amd64.command: code/driver is a program for linux/arm64"},
		"messages no texts": {func(t *testing.T) []byte {
			return changed(t, "resources/messages/en.json", `{"a": {"b": 1}}`)
		}, "one JSON object whose values are texts"},
	}
}

func changed(t *testing.T, name, text string) []byte {
	t.Helper()
	files := content(t)
	files[name] = text
	return zipped(t, newCar(t, files).tar())
}

// paxSparse is a sparse file in the PAX way, which the tar reader expands.
func paxSparse(t *testing.T) []byte {
	t.Helper()
	c := newCar(t, content(t))
	text := bytes.Clone(c.tar())
	text = text[:len(text)-1024]
	records := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n30 GNU.sparse.name=code/sparse\n" +
		"32 GNU.sparse.realsize=10000000\n"
	var pax bytes.Buffer
	writer := tar.NewWriter(&pax)
	for _, part := range []struct {
		kind byte
		name string
		text string
	}{{'x', "PaxHeaders/x", records}, {tar.TypeReg, "code/sparse", "1\n0\n0\n" + strings.Repeat("\x00", 506)}} {
		header := plain(part.name)
		header.Size = int64(len(part.text))
		if err := writer.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(writer, part.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	sparse := pax.Bytes()
	sparse[156] = 'x'
	sum := 0
	copy(sparse[148:156], "        ")
	for _, b := range sparse[:512] {
		sum += int(b)
	}
	copy(sparse[148:156], []byte("0"+strconv.FormatInt(int64(sum)+1<<18, 8)[1:]+"\x00 "))
	return zipped(t, append(text, sparse...))
}

func TestHostileArchivesAreRefused(t *testing.T) {
	for name, test := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			car := test.car(t)
			_, err := archive.Inspect(t.Context(), bytes.NewReader(car), small())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("inspecting: got %v, want it to say %q", err, test.want)
			}
			dir := t.TempDir()
			store, err := archive.OpenStore(filepath.Join(dir, "store"), small())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close() }()
			if _, err := store.Unpack(t.Context(), bytes.NewReader(car), ""); err == nil {
				t.Error("unpacking: it was taken")
			}
			empty(t, filepath.Join(dir, "store", "sha256"))
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("there is more than the store: %v, %v", entries, err)
			}
		})
	}
}

// TestHostileTestsAreFair: what the hostile archives are made from is fine without the hostile part.
func TestHostileTestsAreFair(t *testing.T) {
	c := newCar(t, content(t))
	c.add(tar.Header{Typeflag: tar.TypeDir, Name: "code/", Mode: 0o755, Format: tar.FormatUSTAR}, "")
	c.add(tar.Header{Typeflag: tar.TypeDir, Name: "lib/empty/", Mode: 0o777, Format: tar.FormatUSTAR}, "")
	c.add(plain("code/space in it (dev)+~x"), "")
	if _, err := archive.Inspect(t.Context(), bytes.NewReader(zipped(t, c.tar())), small()); err != nil {
		t.Error(err)
	}
	fine := raw(func([]byte) {})(t)
	if _, err := archive.Inspect(t.Context(), bytes.NewReader(fine), small()); err != nil {
		t.Error(err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	car, _ := pack(t, tree(t, content(t)))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := archive.Inspect(ended, bytes.NewReader(car), small()); err == nil || !errors.Is(err, ended.Err()) {
		t.Errorf("got %v, want that the context ended", err)
	}
}
