package imageformat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	headBytes = 64 << 10
	tailBytes = 1024
	textBytes = 512
)

// sighting is what the first and last bytes of a file look like. It serves to refuse a wrong declaration, never to
// choose a format.
type sighting struct {
	// name of the format or kind of file; empty when nothing is recognised.
	name string
	// image is true for formats that hold a disk, false for text, archives and the like.
	image bool
	head  []byte
}

func (s sighting) mismatch(declared Format) error {
	if !s.image {
		return refuse(CodeNotAnImage, s.remedy(), "declared %s, but it looks like %s", declared, s.name)
	}
	return refuse(CodeMismatch, s.remedy(), "declared %s, but it looks like %s", declared, s.name)
}

func (s sighting) remedy() string {
	switch {
	case s.name == string(QCOW2) || s.name == string(ISO):
		return "declare the format as " + s.name
	case s.image:
		return "convert it to qcow2 or raw first"
	case s.name == nameText || s.name == nameHTML:
		return "check that the source is the image itself, not a page about it"
	}
	return "unpack it first"
}

const (
	nameText = "text"
	nameHTML = "a web page"
)

// magic is a signature at a fixed place.
type magic struct {
	name  string
	image bool
	at    int
	bytes string
}

func signatures() []magic {
	return []magic{
		{string(QCOW2), true, 0, "QFI\xfb"},
		{"qed", true, 0, "QED\x00"},
		{"vmdk", true, 0, "KDMV"},
		{"vmdk", true, 0, "COWD"},
		{"vmdk", true, 0, "# Disk DescriptorFile"},
		{"vdi", true, 64, "\x7f\x10\xda\xbe"},
		{"vhdx", true, 0, "vhdxfile"},
		{"vhd", true, 0, "conectix"},
		{"luks", true, 0, "LUKS\xba\xbe"},
		{"parallels", true, 0, "WithoutFreeSpace"},
		{"parallels", true, 0, "WithouFreSpacExt"},
		{"bochs", true, 0, "Bochs Virtual HD Image"},
		{"cloop", true, 0, "#!/bin/sh\n#V2.0 Format"},
		{"android sparse", true, 0, "\x3a\xff\x26\xed"},
		{string(ISO), true, isoDescriptorAt + 1, isoIdentifier},
		{"a gzip file", false, 0, "\x1f\x8b\x08"},
		{"an xz file", false, 0, "\xfd7zXZ\x00"},
		{"a zstd file", false, 0, "\x28\xb5\x2f\xfd"},
		{"a bzip2 file", false, 0, "BZh"},
		{"an lz4 file", false, 0, "\x04\x22\x4d\x18"},
		{"a zip file", false, 0, "PK\x03\x04"},
		{"a 7z file", false, 0, "7z\xbc\xaf\x27\x1c"},
		{"a rar file", false, 0, "Rar!\x1a\x07"},
		{"a tar file", false, 257, "ustar"},
		{"a pdf file", false, 0, "%PDF-"},
		{"an executable", false, 0, "\x7fELF"},
	}
}

// look reads the ends of a file and says what they look like.
func look(file io.ReaderAt, fileBytes int64) (sighting, error) {
	head := make([]byte, min(fileBytes, headBytes))
	if err := readFull(file, head, 0); err != nil {
		return sighting{}, err
	}
	for _, known := range signatures() {
		if len(head) > known.at && bytes.HasPrefix(head[known.at:], []byte(known.bytes)) {
			return sighting{name: known.name, image: known.image, head: head}, nil
		}
	}
	if name := textual(head[:min(len(head), textBytes)]); name != "" {
		return sighting{name: name, image: name == "vmdk", head: head}, nil
	}
	tail := make([]byte, min(fileBytes, tailBytes))
	if err := readFull(file, tail, fileBytes-int64(len(tail))); err != nil {
		return sighting{}, err
	}
	return sighting{name: footer(tail), image: true, head: head}, nil
}

// footer recognises the formats whose signature is at the end of the file.
func footer(tail []byte) string {
	for _, known := range []struct {
		name, bytes string
		fromEnd     int
	}{
		{"vhd", "conectix", 512}, {"vhd", "conectix", 511}, {"dmg", "koly", 512},
	} {
		if at := len(tail) - known.fromEnd; at >= 0 && bytes.HasPrefix(tail[at:], []byte(known.bytes)) {
			return known.name
		}
	}
	return ""
}

// textual tells text from disks: a disk begins with boot code, a file system's superblock or zeros, none of which is
// printable throughout. A vmdk descriptor is text too, and names other files.
func textual(head []byte) string {
	head = wholeRunes(head)
	if !utf8.Valid(head) || bytes.ContainsFunc(head, isControl) {
		return ""
	}
	lower := bytes.ToLower(head)
	switch {
	case bytes.Contains(lower, []byte("createtype")) || bytes.Contains(lower, []byte("disk descriptorfile")):
		return "vmdk"
	case bytes.Contains(lower, []byte("<html")) || bytes.Contains(lower, []byte("<!doctype")):
		return nameHTML
	}
	return nameText
}

// wholeRunes cuts off a character that the end of a piece may have cut in two.
func wholeRunes(piece []byte) []byte {
	for len(piece) > 0 && !utf8.RuneStart(piece[len(piece)-1]) {
		piece = piece[:len(piece)-1]
	}
	if len(piece) > 0 && piece[len(piece)-1] >= utf8.RuneSelf {
		piece = piece[:len(piece)-1]
	}
	return piece
}

// isControl tells what is in no text.
func isControl(c rune) bool {
	return (c < ' ' && !strings.ContainsRune("\n\r\t\f", c)) || c == 0x7f
}

// readFull reads exactly len(b) bytes. The end of the file is a refusal: the caller knows the file's size, so the file
// got shorter or a table points behind its end.
func readFull(file io.ReaderAt, b []byte, at int64) error {
	n, err := file.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return refuse(CodeTruncated, "get the file again and check its size", "the file ends before byte %d",
			at+int64(len(b)))
	}
	return fmt.Errorf("reading image at byte %d: %w", at, err)
}
