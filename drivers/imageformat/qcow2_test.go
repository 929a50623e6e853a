package imageformat_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	qcow2reader "github.com/lima-vm/go-qcow2reader"

	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
)

const (
	cluster    = 64 << 10
	l1At       = 3 * cluster
	l2At       = 4 * cluster
	dataAt     = 5 * cluster
	imageBytes = 6 * cluster
	diskBytes  = 1 << 20
)

// put writes a number into a header.
func put(content []byte, offset int, value any) {
	switch v := value.(type) {
	case uint32:
		binary.BigEndian.PutUint32(content[offset:], v)
	case uint64:
		binary.BigEndian.PutUint64(content[offset:], v)
	}
}

// qcow2Image makes a valid qcow2 of 1 MiB with one data cluster, and lets change spoil it.
func qcow2Image(change func([]byte) []byte) []byte {
	content := disk(imageBytes, "QFI\xfb")
	put(content, 4, uint32(3))
	put(content, 20, uint32(16))
	put(content, 24, uint64(diskBytes))
	put(content, 36, uint32(1))
	put(content, 40, uint64(l1At))
	put(content, 48, uint64(cluster))
	put(content, 56, uint32(1))
	put(content, 96, uint32(4))
	put(content, 100, uint32(104))
	put(content, cluster, uint64(2*cluster))
	for i := range 6 {
		binary.BigEndian.PutUint16(content[2*cluster+2*i:], 1)
	}
	put(content, l1At, uint64(l2At|1<<63))
	put(content, l2At, uint64(dataAt|1<<63))
	at(content, dataAt, "hello, disk")
	if change != nil {
		content = change(content)
	}
	return content
}

// tinyQCOW2 is the same with clusters of 512 bytes and a disk of 4 KiB, so that a fuzzer gets through many.
func tinyQCOW2(change func([]byte) []byte) []byte {
	content := disk(6*512, "QFI\xfb")
	put(content, 4, uint32(3))
	put(content, 20, uint32(9))
	put(content, 24, uint64(4096))
	put(content, 36, uint32(1))
	put(content, 40, uint64(3*512))
	put(content, 48, uint64(512))
	put(content, 56, uint32(1))
	put(content, 96, uint32(4))
	put(content, 100, uint32(104))
	put(content, 512, uint64(2*512))
	put(content, 3*512, uint64(4*512|1<<63))
	put(content, 4*512, uint64(5*512|1<<63))
	at(content, 5*512, "hello, disk")
	if change != nil {
		content = change(content)
	}
	return content
}

// set makes a change of one number.
func set(offset int, value any) func([]byte) []byte {
	return func(content []byte) []byte {
		put(content, offset, value)
		return content
	}
}

// extension puts a header extension behind the header.
func extension(kind, length uint32) func([]byte) []byte {
	return func(content []byte) []byte {
		put(content, 104, kind)
		put(content, 108, length)
		return content
	}
}

func TestQCOW2(t *testing.T) {
	t.Parallel()
	cut := func(size int) func([]byte) []byte {
		return func(content []byte) []byte { return content[:size] }
	}
	extendedSmall := func(content []byte) []byte {
		put(content, 72, uint64(1<<4))
		put(content, 20, uint32(13))
		return content
	}
	compressed := func(offset, sectors uint64) func([]byte) []byte {
		return set(l2At, offset|sectors<<54|1<<62)
	}
	for name, test := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"valid":                       {nil, ""},
		"version 2":                   {set(4, uint32(2)), ""},
		"version 1":                   {set(4, uint32(1)), imageformat.CodeFeature},
		"version 4":                   {set(4, uint32(4)), imageformat.CodeFeature},
		"backing file":                {set(8, uint64(512)), imageformat.CodeExternal},
		"backing file name only":      {set(16, uint32(11)), imageformat.CodeExternal},
		"data file bit":               {set(72, uint64(1<<2)), imageformat.CodeExternal},
		"data file extension":         {extension(0x44415441, 11), imageformat.CodeExternal},
		"raw external bit":            {set(88, uint64(1<<1)), imageformat.CodeExternal},
		"aes":                         {set(32, uint32(1)), imageformat.CodeEncrypted},
		"luks":                        {set(32, uint32(2)), imageformat.CodeEncrypted},
		"encryption extension":        {extension(0x0537be77, 16), imageformat.CodeEncrypted},
		"unknown feature":             {set(72, uint64(1<<5)), imageformat.CodeFeature},
		"highest unknown feature":     {set(72, uint64(1<<63)), imageformat.CodeFeature},
		"compression without type":    {set(72, uint64(1<<3)), imageformat.CodeFeature},
		"dirty":                       {set(72, uint64(1)), imageformat.CodeUnclean},
		"corrupt":                     {set(72, uint64(2)), imageformat.CodeUnclean},
		"internal snapshots":          {set(60, uint32(1)), imageformat.CodeSnapshots},
		"unknown compatible feature":  {set(80, uint64(1<<40)), ""},
		"unknown extension":           {extension(0x12345678, 8), ""},
		"endless extensions":          {extension(0x12345678, 0xfffffff0), imageformat.CodeMalformed},
		"extension to the last byte":  {extension(0x12345678, cluster-112), ""},
		"clusters too small":          {set(20, uint32(8)), imageformat.CodeMalformed},
		"clusters too large":          {set(20, uint32(22)), imageformat.CodeMalformed},
		"clusters overflow":           {set(20, uint32(64)), imageformat.CodeMalformed},
		"extended L2 small cluster":   {extendedSmall, imageformat.CodeMalformed},
		"header too short":            {set(100, uint32(96)), imageformat.CodeMalformed},
		"header too long":             {set(100, uint32(cluster+8)), imageformat.CodeMalformed},
		"header odd":                  {set(100, uint32(105)), imageformat.CodeMalformed},
		"refcount order":              {set(96, uint32(7)), imageformat.CodeMalformed},
		"no size":                     {set(24, uint64(0)), imageformat.CodeMalformed},
		"odd size":                    {set(24, uint64(diskBytes+1)), imageformat.CodeMalformed},
		"8 EiB":                       {set(24, uint64(1<<63)), imageformat.CodeTooLarge},
		"65 TiB":                      {set(24, uint64(65<<40)), imageformat.CodeTooLarge},
		"L1 too small":                {set(24, uint64(1<<30)), imageformat.CodeMalformed},
		"L1 absurd":                   {set(36, uint32(0xffffffff)), imageformat.CodeTooLarge},
		"L1 behind the end":           {set(40, uint64(imageBytes)), imageformat.CodeTruncated},
		"L1 far behind the end":       {set(40, uint64(1<<62)), imageformat.CodeTruncated},
		"L1 in the header":            {set(40, uint64(0)), imageformat.CodeMalformed},
		"L1 not aligned":              {set(40, uint64(l1At+8)), imageformat.CodeMalformed},
		"no refcounts":                {set(56, uint32(0)), imageformat.CodeMalformed},
		"refcount table absurd":       {set(56, uint32(0xffffffff)), imageformat.CodeTooLarge},
		"refcount table behind end":   {set(48, uint64(imageBytes)), imageformat.CodeTruncated},
		"L2 behind the end":           {set(l1At, uint64(imageBytes)), imageformat.CodeTruncated},
		"L1 entry beyond the disk":    {set(l1At+8, uint64(1)), ""},
		"data behind the end":         {set(l2At, uint64(imageBytes)), imageformat.CodeTruncated},
		"data not aligned":            {set(l2At, uint64(dataAt+512)), imageformat.CodeMalformed},
		"zero cluster with old place": {set(l2At, uint64(imageBytes|1)), ""},
		"compressed in the file":      {compressed(dataAt, 1), ""},
		"compressed behind the end":   {compressed(imageBytes, 0), imageformat.CodeTruncated},
		"compressed over the end":     {compressed(imageBytes-512, 8), imageformat.CodeTruncated},
		"cut in the signature":        {cut(3), imageformat.CodeNotAnImage},
		"cut in the header":           {cut(50), imageformat.CodeTruncated},
		"cut in the v3 header":        {cut(80), imageformat.CodeTruncated},
		"cut behind the header":       {cut(104), imageformat.CodeTruncated},
		"cut before L1":               {cut(l1At), imageformat.CodeTruncated},
		"cut before L2":               {cut(l2At), imageformat.CodeTruncated},
		"cut before data":             {cut(dataAt), imageformat.CodeTruncated},
		"raw":                         {func([]byte) []byte { return disk(1<<20, "\x01") }, imageformat.CodeNotAnImage},
		"vmdk":                        {func([]byte) []byte { return disk(1<<20, "KDMV") }, imageformat.CodeMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, err := inspect(t, qcow2Image(test.change), imageformat.QCOW2)
			if code(err) != test.want {
				t.Fatalf("refusal = %q (%v), want %q", code(err), err, test.want)
			}
			if err == nil && image.VirtualBytes != diskBytes {
				t.Errorf("virtual bytes = %d, want %d", image.VirtualBytes, diskBytes)
			}
		})
	}
}

func TestTinyQCOW2IsValid(t *testing.T) {
	t.Parallel()
	for name, content := range map[string][]byte{
		"plain":      tinyQCOW2(nil),
		"version 2":  tinyQCOW2(set(4, uint32(2))),
		"compressed": tinyQCOW2(set(4*512, uint64(5*512|1<<62))),
	} {
		if _, err := inspect(t, content, imageformat.QCOW2); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestQCOW2UsesNoL2TableTwice(t *testing.T) {
	t.Parallel()
	content := qcow2Image(func(c []byte) []byte {
		put(c, 24, uint64(1<<30)) // two L2 tables of 512 MiB each
		put(c, 36, uint32(2))
		put(c, l1At+8, uint64(l2At|1<<63))
		return c
	})
	if _, err := inspect(t, content, imageformat.QCOW2); code(err) != imageformat.CodeMalformed {
		t.Errorf("refusal = %q, want %q", code(err), imageformat.CodeMalformed)
	}
}

func TestHeaderOnlyLeavesOutTheTables(t *testing.T) {
	t.Parallel()
	content := qcow2Image(set(l2At, uint64(imageBytes)))
	_, err := imageformat.Inspect(t.Context(), bytes.NewReader(content), int64(len(content)), imageformat.QCOW2,
		imageformat.Limits{HeaderOnly: true})
	if err != nil {
		t.Errorf("header only: %v", err)
	}
	_, err = imageformat.Inspect(t.Context(), bytes.NewReader(qcow2Image(set(8, uint64(512)))), imageBytes,
		imageformat.QCOW2, imageformat.Limits{HeaderOnly: true})
	if code(err) != imageformat.CodeExternal {
		t.Errorf("a backing file passes a header-only inspection: %v", err)
	}
}

// FuzzInspect looks for panics, for reading without bounds, and for images that an independent reader opens
// differently. The reader is only asked about what was accepted: it follows backing files.
func FuzzInspect(f *testing.F) {
	f.Add(tinyQCOW2(nil), uint8(1))
	f.Add(tinyQCOW2(set(4, uint32(2))), uint8(1))
	f.Add(tinyQCOW2(set(4*512, uint64(5*512|1<<61|1<<62))), uint8(1))
	f.Add(tinyQCOW2(extension(0xe2792aca, 3)), uint8(1))
	f.Add(isoImage(17)[:36<<10], uint8(2))
	f.Add(disk(4096, "\xeb\x63\x90"), uint8(0))
	f.Add([]byte("# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n"), uint8(0))
	f.Fuzz(func(t *testing.T, content []byte, which uint8) {
		declared := []imageformat.Format{imageformat.Raw, imageformat.QCOW2, imageformat.ISO}[which%3]
		file := &countingDisk{ReaderAt: bytes.NewReader(content)}
		image, err := imageformat.Inspect(t.Context(), file, int64(len(content)), declared, imageformat.Limits{})
		if file.read > 4*int64(len(content))+1<<20 {
			t.Errorf("%d bytes were read of a file of %d", file.read, len(content))
		}
		if err != nil {
			if imageformat.RefusalOf(err) == nil {
				t.Errorf("an error that is no refusal: %v", err)
			}
			return
		}
		if image.VirtualBytes <= 0 || image.VirtualBytes%imageformat.SectorBytes != 0 {
			t.Errorf("accepted a disk of %d bytes", image.VirtualBytes)
		}
		if declared == imageformat.QCOW2 {
			compareWithReader(t, content, image)
		}
	})
}

func compareWithReader(t *testing.T, content []byte, image imageformat.Image) {
	t.Helper()
	other, err := qcow2reader.Open(bytes.NewReader(content))
	if err != nil {
		return // it knows fewer features
	}
	defer func() { _ = other.Close() }()
	if other.Size() != image.VirtualBytes {
		t.Errorf("size = %d, the other reader says %d", image.VirtualBytes, other.Size())
	}
}

func TestTheOtherReaderFindsTheData(t *testing.T) {
	t.Parallel()
	other, err := qcow2reader.Open(bytes.NewReader(qcow2Image(nil)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 11)
	if _, err := other.ReadAt(got, 0); err != nil && err != io.EOF { //nolint:errorlint // ReaderAt returns it bare
		t.Fatal(err)
	}
	if string(got) != "hello, disk" {
		t.Errorf("the image of the tests holds %q", got)
	}
}
