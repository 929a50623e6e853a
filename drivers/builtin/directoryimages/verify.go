package directoryimages

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	sha256Name = "sha256"
	sha512Name = "sha512"

	hashPiece = 1 << 20
)

// expectation is what content was declared to be.
type expectation struct {
	format imageformat.Format
	// algorithm and sum of the checksum; empty when none was given.
	algorithm, sum string
	// field is the part of the spec that names the source.
	field string
}

// errChecksum says that content is not what its checksum says.
var errChecksum = errors.New("the checksum does not match")

// parseChecksum reads "sha256:<hex>" or "sha512:<hex>".
func parseChecksum(text string) (algorithm, sum string, err error) {
	if text == "" {
		return "", "", nil
	}
	algorithm, sum, _ = strings.Cut(strings.ToLower(text), ":")
	raw, err := hex.DecodeString(sum)
	if err == nil && ((algorithm == sha256Name && len(raw) == sha256.Size) ||
		(algorithm == sha512Name && len(raw) == sha512.Size)) {
		return algorithm, sum, nil
	}
	return "", "", sdk.Invalid("checksum-invalid", "/checksum", "the checksum is neither SHA-256 nor SHA-512",
		"write it as sha256:<64 hexadecimal digits> or sha512:<128 hexadecimal digits>")
}

// verify checks content that lies where nobody else writes: its checksum, then what it is.
func verify(ctx context.Context, file *os.File, want expectation) (note, error) {
	info, err := file.Stat()
	if err != nil {
		return note{}, diskdir.Fault(err, "looking at the image")
	}
	sums, err := checksums(ctx, file, info.Size(), want.algorithm)
	if err != nil {
		return note{}, err
	}
	if want.sum != "" && subtle.ConstantTimeCompare([]byte(sums[want.algorithm]), []byte(want.sum)) != 1 {
		return note{}, errChecksum
	}
	sdk.Progress(ctx, percentInspecting, "inspecting")
	image, err := imageformat.Inspect(ctx, file, info.Size(), want.format, imageformat.Limits{})
	if refusal := imageformat.RefusalOf(err); refusal != nil {
		return note{}, sdk.Invalid(refusal.Code, refusalField(refusal.Code, want.field), refusal.Reason, refusal.Remedy)
	}
	if err != nil {
		return note{}, diskdir.Fault(err, "inspecting the image")
	}
	return note{
		Version: noteVersion, Format: string(image.Format), FileBytes: image.FileBytes,
		VirtualBytes: image.VirtualBytes, Algorithm: cmp.Or(want.algorithm, sha256Name), Checksums: sums,
	}, nil
}

// refusalField names the declaration when that is wrong, and the source when the content is.
func refusalField(code, source string) string {
	switch code {
	case imageformat.CodeMismatch, imageformat.CodeUnknownFormat:
		return "/format"
	}
	return source
}

// checksums reads content and gives its SHA-256, and the other one if that was asked for.
func checksums(ctx context.Context, file *os.File, size int64, algorithm string) (map[string]string, error) {
	hashes := map[string]hash.Hash{sha256Name: sha256.New()}
	writers := []io.Writer{hashes[sha256Name]}
	if algorithm == sha512Name {
		hashes[sha512Name] = sha512.New()
		writers = append(writers, hashes[sha512Name])
	}
	all, piece := io.MultiWriter(writers...), make([]byte, hashPiece)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading the image: %w", err)
		}
		n, err := file.ReadAt(piece[:min(int64(len(piece)), size-at)], at)
		if n == 0 {
			return nil, diskdir.Fault(err, "reading the image")
		}
		_, _ = all.Write(piece[:n]) // a hash takes all
		at += int64(n)
		sdk.Progress(ctx, between(percentHere, percentInspecting, at, size), "verifying")
	}
	sums := map[string]string{}
	for name, sum := range hashes {
		sums[name] = hex.EncodeToString(sum.Sum(nil))
	}
	return sums, nil
}

// How far an import has come when its content is here, and when it is verified.
const (
	percentHere       = 80
	percentInspecting = 97
)

// between places done of total between two percentages.
func between(from, to int, done, total int64) int {
	return from + int(float64(to-from)*float64(done)/float64(max(total, 1)))
}
