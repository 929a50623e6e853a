package imageformat

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Format is how a disk is laid out in a file.
type Format string

// The formats that can be declared.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	ISO   Format = "iso"
)

// DefaultMaxVirtualBytes bounds the disk in an image unless Limits says otherwise: 64 TiB.
const DefaultMaxVirtualBytes = 64 << 40

// SectorBytes is what the size of every disk is a multiple of.
const SectorBytes = 512

// The codes of a Refusal.
const (
	// CodeUnknownFormat: the declared format is none of ours.
	CodeUnknownFormat = "format-unknown"
	// CodeNotAnImage: empty, text, a web page, an archive.
	CodeNotAnImage = "not-an-image"
	// CodeMismatch: an image, but of another format than declared.
	CodeMismatch = "format-mismatch"
	// CodeTruncated: the file ends before the image does.
	CodeTruncated = "image-truncated"
	// CodeMalformed: the header or a table contradicts itself or the format.
	CodeMalformed = "image-malformed"
	// CodeExternal: the image refers to another file.
	CodeExternal = "image-refers-to-file"
	// CodeEncrypted: the content is encrypted.
	CodeEncrypted = "image-encrypted"
	// CodeFeature: the image needs a feature that is not supported.
	CodeFeature = "image-feature"
	// CodeUnclean: the image was not closed cleanly or is marked corrupt.
	CodeUnclean = "image-unclean"
	// CodeSnapshots: the image carries internal snapshots.
	CodeSnapshots = "image-has-snapshots"
	// CodeTooLarge: the disk in it is larger than allowed.
	CodeTooLarge = "image-too-large"
)

// Refusal says why a file is not acceptable. It names what was found, never content of the file.
type Refusal struct {
	// Code is one of the codes of this package.
	Code string
	// Reason is for people.
	Reason string
	// Remedy is one next step, or empty.
	Remedy string
}

// Error implements error.
func (r *Refusal) Error() string {
	return r.Code + ": " + r.Reason
}

// RefusalOf returns the refusal that err carries; nil when there is none.
func RefusalOf(err error) *Refusal {
	refusal, _ := errors.AsType[*Refusal](err)
	return refusal
}

func refuse(code, remedy, reason string, args ...any) error {
	return &Refusal{Code: code, Reason: fmt.Sprintf(reason, args...), Remedy: remedy}
}

// Limits bounds what is accepted.
type Limits struct {
	// MaxVirtualBytes is the largest disk; 0 = DefaultMaxVirtualBytes.
	MaxVirtualBytes int64
	// HeaderOnly leaves out the walk over the tables of a qcow2: for files that this system made itself, or that
	// were inspected in full before.
	HeaderOnly bool
}

func (l Limits) maxVirtual() int64 {
	if l.MaxVirtualBytes <= 0 {
		return DefaultMaxVirtualBytes
	}
	return l.MaxVirtualBytes
}

// Image is what is known of an accepted file.
type Image struct {
	Format    Format
	FileBytes int64
	// VirtualBytes is the size of the disk, a multiple of SectorBytes.
	VirtualBytes int64
}

// Inspect checks that the fileBytes bytes of file are an image of the declared format and safe to be opened as that.
// It answers with a *Refusal in the error when they are not, with another error when reading failed or ctx ended.
func Inspect(ctx context.Context, file io.ReaderAt, fileBytes int64, declared Format, limits Limits) (Image, error) {
	if declared != Raw && declared != QCOW2 && declared != ISO {
		return Image{}, refuse(CodeUnknownFormat, "declare raw, qcow2 or iso", "%q is not a format this system knows",
			printable(string(declared)))
	}
	if fileBytes <= 0 {
		return Image{}, refuse(CodeNotAnImage, "", "the file is empty")
	}
	seen, err := look(file, fileBytes)
	if err != nil {
		return Image{}, err
	}
	var virtual int64
	switch declared {
	case QCOW2:
		virtual, err = inspectQCOW2(ctx, file, fileBytes, seen, limits)
	case ISO:
		virtual, err = inspectISO(file, fileBytes, seen)
	case Raw:
		virtual, err = inspectRaw(fileBytes, seen)
	}
	if err != nil {
		return Image{}, err
	}
	if virtual > limits.maxVirtual() {
		return Image{}, tooLarge(uint64(virtual), limits)
	}
	return Image{Format: declared, FileBytes: fileBytes, VirtualBytes: virtual}, nil
}

func tooLarge(virtual uint64, limits Limits) error {
	return refuse(CodeTooLarge, "", "the disk has %d bytes, the limit is %d", virtual, limits.maxVirtual())
}

func inspectRaw(fileBytes int64, seen sighting) (int64, error) {
	if seen.name != "" {
		return 0, seen.mismatch(Raw)
	}
	if fileBytes < SectorBytes {
		return 0, refuse(CodeNotAnImage, "", "%d bytes are less than one sector", fileBytes)
	}
	return roundUp(fileBytes), nil
}

// roundUp gives what QEMU makes of a raw file whose last sector is not complete.
func roundUp(n int64) int64 {
	return (n + SectorBytes - 1) / SectorBytes * SectorBytes
}

// printable keeps a hostile string from reaching logs: at most 32 bytes of plain ASCII.
func printable(s string) string {
	out := make([]byte, 0, 32)
	for i := 0; i < len(s) && len(out) < 32; i++ {
		if s[i] >= ' ' && s[i] < 0x7f {
			out = append(out, s[i])
		}
	}
	return string(out)
}
