package sim

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// simulatedTemplateBytes is the size of templates that exist in simulation only, unless their source says otherwise.
const simulatedTemplateBytes = 1 << 20

// fetched is what an import found.
type fetched struct {
	fileBytes, virtualBytes uint64
	checksum                string
}

// fetch brings a template in. Downloads are pretended; so are files and uploads whose path begins with "sim:". Their
// query says what they are: sim:debian?bytes=1048576&virtual=2097152&checksum=sha256:…&format=qcow2. Other files are
// really read.
func fetch(ctx context.Context, r *driverpb.ImportTemplateRequest) (fetched, error) {
	source := sourceOf(r)
	var found fetched
	var err error
	switch {
	case r.GetUrl() != "":
		if err := checkEgress(r.GetUrl(), r.GetEgress()); err != nil {
			return found, err
		}
		found, err = pretend(source, "/url", r)
	case strings.HasPrefix(source, simworld.Protocol+":"):
		found, err = pretend(source, "/file", r)
	default:
		found, err = readImage(ctx, source, r)
	}
	if err != nil {
		return found, err
	}
	if r.GetMaxBytes() > 0 && (found.fileBytes > r.GetMaxBytes() || found.virtualBytes > r.GetMaxBytes()) {
		return found, sdk.Invalid("too-large", "/call/max_bytes",
			fmt.Sprintf("the template has %d bytes, its disk %d", found.fileBytes, found.virtualBytes),
			"allow more, or take a smaller template")
	}
	if r.GetChecksum() != "" && r.GetChecksum() != found.checksum {
		return found, sdk.Invalid("checksum-mismatch", "/checksum", "the content has "+found.checksum,
			"check the source and the checksum")
	}
	return found, nil
}

// pretend makes a template up from its source's words.
func pretend(source, field string, r *driverpb.ImportTemplateRequest) (fetched, error) {
	parsed, err := url.Parse(source)
	if err != nil {
		return fetched{}, sdk.Invalid("bad-source", field, "is not a URL", "")
	}
	query := parsed.Query()
	found := fetched{fileBytes: simulatedTemplateBytes, checksum: query.Get("checksum")}
	if text := query.Get("bytes"); text != "" {
		if found.fileBytes, err = strconv.ParseUint(text, 10, 63); err != nil {
			return found, sdk.Invalid("bad-source", field, "bytes is not a number", "")
		}
	}
	found.virtualBytes = found.fileBytes
	if text := query.Get("virtual"); text != "" {
		if found.virtualBytes, err = strconv.ParseUint(text, 10, 63); err != nil {
			return found, sdk.Invalid("bad-source", field, "virtual is not a number", "")
		}
	}
	if format := query.Get("format"); format != "" && format != r.GetFormat() {
		return found, sdk.Invalid("not-an-image", "/format", "the content is "+format+", not "+r.GetFormat(), "")
	}
	if found.checksum == "" {
		found.checksum = r.GetChecksum()
	}
	if found.checksum == "" {
		sum := sha256.Sum256([]byte(source))
		found.checksum = "sha256:" + hex.EncodeToString(sum[:])
	}
	return found, nil
}

// checkEgress refuses what a real downloader would have to refuse. Names are not resolved: nothing is downloaded.
func checkEgress(source string, policy *driverpb.EgressPolicy) error {
	parsed, err := url.Parse(source)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return sdk.Invalid("bad-url", "/url", "want an http or https URL", "")
	}
	address, literal := hostAddress(parsed.Hostname())
	if !literal || public(address) || allowed(address, policy) {
		return nil
	}
	return sdk.Denied("egress-denied", address.String()+" is not a public address",
		"allow its network in the zone's egress policy")
}

// hostAddress is the address a host's name stands for; false if only name servers know.
func hostAddress(name string) (netip.Addr, bool) {
	if name == "localhost" {
		name = "127.0.0.1"
	}
	address, err := netip.ParseAddr(name)
	return address.Unmap(), err == nil
}

// public tells whether an address may be connected to without being listed.
func public(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsPrivate() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
}

func allowed(address netip.Addr, policy *driverpb.EgressPolicy) bool {
	return slices.ContainsFunc(policy.GetAllowCidrs(), func(text string) bool {
		prefix, err := netip.ParsePrefix(text)
		return err == nil && prefix.Contains(address)
	})
}

// readImage reads a file and looks whether it is what it is said to be.
func readImage(ctx context.Context, path string, r *driverpb.ImportTemplateRequest) (fetched, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fetched{}, sdk.Invalid("path-missing", "/file", path+" does not exist", "correct the path")
	}
	if err != nil {
		return fetched{}, sdk.Denied("path-not-readable", err.Error(), "let the driver's user read the file")
	}
	defer func() { _ = file.Close() }() // only read
	digest := sha256.New()
	name := "sha256:"
	if strings.HasPrefix(r.GetChecksum(), "sha512:") {
		digest, name = sha512.New(), "sha512:"
	}
	head := make([]byte, 512)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fetched{}, sdk.Transient("reading-failed", err.Error())
	}
	head = head[:n]
	_, _ = digest.Write(head) // never fails
	rest, err := io.Copy(digest, &cancellable{ctx: ctx, from: file})
	if err != nil {
		return fetched{}, fmt.Errorf("reading %s: %w", path, err)
	}
	found := fetched{
		fileBytes: uint64(rest) + uint64(n), checksum: name + hex.EncodeToString(digest.Sum(nil)),
	}
	found.virtualBytes, err = inspect(head, found.fileBytes, r.GetFormat())
	return found, err
}

// qcow2Magic begins every qcow2 file; its disk's size is at byte 24, its backing file's name at the offset at byte 8.
const qcow2Magic = "QFI\xfb"

// inspect compares the beginning of a file with its declared format and returns the size of the disk in it.
func inspect(head []byte, size uint64, format string) (uint64, error) {
	qcow2 := strings.HasPrefix(string(head), qcow2Magic)
	switch {
	case len(head) == 0:
		return 0, sdk.Invalid("not-an-image", "/file", "the file is empty", "")
	case qcow2 != (format == "qcow2"):
		return 0, sdk.Invalid("not-an-image", "/format", "the file is not "+format, "declare the format it has")
	case !qcow2:
		return size, nil
	case len(head) < 32:
		return 0, sdk.Invalid("not-an-image", "/file", "the file ends in its header", "")
	case binary.BigEndian.Uint64(head[8:]) != 0:
		return 0, sdk.Invalid("refers-to-files", "/file", "the image has a backing file",
			"flatten it first: qemu-img convert")
	}
	return binary.BigEndian.Uint64(head[24:]), nil
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no room for it
	from io.Reader
}

// Read implements io.Reader.
func (c *cancellable) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.from.Read(b)
}

// consume removes an upload, as the contract says.
func consume(r *driverpb.ImportTemplateRequest) error {
	if r.GetUpload() == "" || strings.HasPrefix(r.GetUpload(), simworld.Protocol+":") {
		return nil
	}
	if err := os.Remove(r.GetUpload()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sdk.Denied("upload-stays", err.Error(), "let the driver's user write to the directory of uploads")
	}
	return nil
}
