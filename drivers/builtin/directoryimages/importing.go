package directoryimages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	defaultMaxBytes = 64 << 30
	fieldFile       = "/file"
	fieldUpload     = "/upload"
	fieldChecksum   = "/checksum"
)

// content is an image on its way in.
type content interface {
	File() *os.File
	Publish(folder, name string) error
	// Discard gives up what was not published.
	Discard()
}

// ImportTemplate implements driverpb.ImagesServer.
func (d *directoryImages) ImportTemplate(
	ctx context.Context, req *driverpb.ImportTemplateRequest,
) (*driverpb.TemplateReply, error) {
	call, id := req.GetCall(), req.GetCall().GetResource().GetId()
	want, err := expectationOf(req)
	if err != nil {
		return nil, err
	}
	opened, err := openStore(call, req.GetStore())
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	known, err := opened.existing(ctx, id, want)
	if errors.Is(err, fs.ErrNotExist) {
		known, err = opened.bring(ctx, req, want)
	}
	if errors.Is(err, fs.ErrExist) { // another process was faster, during a swap
		known, err = opened.existing(ctx, id, want)
	}
	if err != nil {
		return nil, diskdir.Fault(err, "importing template "+id)
	}
	if want.algorithm != "" {
		known.Algorithm = want.algorithm
	}
	if err := forgetSource(req); err != nil {
		return nil, diskdir.Fault(err, "removing what template "+id+" came from")
	}
	return opened.templateReply(id, known)
}

// expectationOf reads what a request declares.
func expectationOf(req *driverpb.ImportTemplateRequest) (expectation, error) {
	want := expectation{format: imageformat.Format(req.GetFormat())}
	switch want.format {
	case imageformat.Raw, imageformat.QCOW2, imageformat.ISO:
	default:
		return expectation{}, sdk.Invalid(imageformat.CodeUnknownFormat, "/format",
			"the format must be declared as raw, qcow2 or iso", "")
	}
	var err error
	if want.algorithm, want.sum, err = parseChecksum(req.GetChecksum()); err != nil {
		return expectation{}, err
	}
	switch req.GetSource().(type) {
	case *driverpb.ImportTemplateRequest_Url:
		want.field = "/url"
		if want.sum == "" {
			return expectation{}, sdk.Invalid("checksum-required", fieldChecksum, "a download needs a checksum",
				"give sha256:<hex> as its publisher states it")
		}
	case *driverpb.ImportTemplateRequest_File:
		want.field = fieldFile
	case *driverpb.ImportTemplateRequest_Upload:
		want.field = fieldUpload
	default:
		return expectation{}, sdk.Invalid("source-required", "/url", "a template needs a url, a file or an upload", "")
	}
	return want, nil
}

// existing answers an import of what is there already; fs.ErrNotExist when nothing is. A template is complete, for only
// complete ones have a name.
func (s *store) existing(ctx context.Context, id string, want expectation) (note, error) {
	format, err := s.find(id)
	if err != nil {
		return note{}, err
	}
	known, err := s.noteOf(ctx, id, format)
	if err != nil {
		return note{}, err
	}
	if want.sum != "" && known.Checksums[want.algorithm] == "" {
		if known, err = s.withChecksum(ctx, id, known, want.algorithm); err != nil {
			return note{}, err
		}
	}
	if known.Format != string(want.format) || (want.sum != "" && known.Checksums[want.algorithm] != want.sum) {
		return note{}, sdk.Conflict("template-exists",
			fmt.Sprintf("template %s is there already, as %s with another content", id, known.Format),
			"delete it first, or import another one")
	}
	return known, nil
}

// withChecksum adds a checksum of another kind to what is known of a template.
func (s *store) withChecksum(ctx context.Context, id string, known note, algorithm string) (note, error) {
	file, err := s.Dir.OpenFile(folderTemplates, templateName(id, known.Format), unix.O_RDONLY)
	if err != nil {
		return note{}, err
	}
	defer func() { _ = file.Close() }()
	known.Checksums, err = checksums(ctx, file, known.FileBytes, algorithm)
	return known, err
}

// bring brings content in, verifies it and makes it a template.
func (s *store) bring(ctx context.Context, req *driverpb.ImportTemplateRequest, want expectation) (note, error) {
	if err := s.Room(0); err != nil {
		return note{}, err
	}
	if req.GetUrl() != "" {
		return s.bringDownload(ctx, req, want)
	}
	staged, err := s.copyIn(ctx, req)
	if err != nil {
		return note{}, err
	}
	defer staged.Discard()
	known, err := verify(ctx, staged.File(), want)
	if errors.Is(err, errChecksum) {
		return note{}, checksumFault()
	}
	if err != nil {
		return note{}, err
	}
	return known, s.publish(req.GetCall().GetResource().GetId(), staged, known)
}

func checksumFault() error {
	return sdk.Invalid("checksum-mismatch", fieldChecksum, "the content does not have the checksum that was given",
		"check the checksum and the source")
}

// publish makes content a template. The note comes first, so that the template's own name is the moment it exists.
func (s *store) publish(id string, arrived content, known note) error {
	if err := s.writeNote(id, known); err != nil {
		return err
	}
	err := seal(arrived.File())
	if err == nil {
		err = arrived.Publish(folderTemplates, templateName(id, known.Format))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = errors.Join(err, s.Dir.Remove(folderTemplates, id+noteSuffix))
	}
	return err
}

// copyIn copies a file of the host into staging. It is a copy in any case: what others could still write to is not
// what was verified.
func (s *store) copyIn(ctx context.Context, req *driverpb.ImportTemplateRequest) (*diskdir.Staged, error) {
	from, err := openSource(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = from.Close() }()
	info, err := from.Stat()
	if err != nil {
		return nil, diskdir.Fault(err, "looking at the image")
	}
	if most := maxBytes(req); info.Size() > most {
		return nil, sdk.Invalid("too-large", "/maxBytes", fmt.Sprintf("the file has %d bytes, the limit is %d",
			info.Size(), most), "raise maxBytes, if the file is the right one")
	}
	staged, err := s.Dir.Stage(req.GetCall().GetResource().GetId())
	if err != nil {
		return nil, err
	}
	if _, err := s.Copy(ctx, staged.File(), from, percentHere); err != nil {
		staged.Discard()
		return nil, err
	}
	return staged, nil
}

func maxBytes(req *driverpb.ImportTemplateRequest) int64 {
	if asked := req.GetMaxBytes(); asked > 0 && asked < 1<<62 {
		return int64(asked)
	}
	return defaultMaxBytes
}

// openSource opens the file that a request names, under a directory that is allowed.
func openSource(req *driverpb.ImportTemplateRequest) (*os.File, error) {
	if path := req.GetUpload(); path != "" {
		if err := checkUpload(req); err != nil {
			return nil, err
		}
		file, err := diskdir.OpenPath(path)
		return file, sourceFault(err, fieldUpload)
	}
	folders, err := allowed(req.GetCall())
	if err != nil {
		return nil, err
	}
	path := req.GetFile()
	for _, folder := range folders {
		if inside, err := filepath.Rel(folder, path); filepath.IsAbs(path) && err == nil && filepath.IsLocal(inside) {
			file, err := openBelow(folder, inside)
			return file, sourceFault(err, fieldFile)
		}
	}
	return nil, deniedFault("path-not-allowed", fieldFile, "files at that place may not become templates",
		"put the file below a directory of the store's property "+propertyAllow+", or upload it (--upload)")
}

// checkUpload refuses what can't be the server's spooled upload of this template. Uploads are removed after import, so
// only a file that bears the template's id counts as one: "<id>" or "<id>.<what tells uploads apart>".
func checkUpload(req *driverpb.ImportTemplateRequest) error {
	path := req.GetUpload()
	id, _, _ := strings.Cut(filepath.Base(path), ".")
	if filepath.IsAbs(path) && filepath.Clean(path) == path && id == req.GetCall().GetResource().GetId() {
		return nil
	}
	return deniedFault("path-not-allowed", fieldUpload, "that is no upload of this template", "upload the content again")
}

func deniedFault(code, field, message, remedy string) error {
	return sdk.FromFault(&driverpb.Fault{
		Class: driverpb.Class_CLASS_DENIED, Code: code, Field: field, Message: message, Remedy: remedy,
	})
}

// openBelow opens a file below a directory. Links are followed as long as they stay below it.
func openBelow(folder, name string) (*os.File, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("opening directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	file, err := root.OpenFile(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening file: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = diskdir.ErrNotRegular
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// sourceFault makes a fault of a source that can't be opened; nil for nil.
func sourceFault(err error, field string) error {
	fault := func(class driverpb.Class, code, message, remedy string) error {
		return sdk.FromFault(&driverpb.Fault{
			Class: class, Code: code, Field: field, Message: message, Remedy: remedy,
		})
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return fault(driverpb.Class_CLASS_NOT_FOUND, "source-missing", "there is no such file", "check the path")
	case errors.Is(err, diskdir.ErrNotRegular), errors.Is(err, unix.ENXIO):
		return fault(driverpb.Class_CLASS_INVALID, "source-invalid", "that is no plain file",
			"name a file, not a directory or a device")
	case errors.Is(err, fs.ErrPermission):
		return fault(driverpb.Class_CLASS_DENIED, "source-denied", "the driver may not read the file",
			"make it readable for the data group")
	case strings.Contains(err.Error(), "path escapes"):
		return fault(driverpb.Class_CLASS_DENIED, "path-not-allowed",
			"a link on the way is absolute or leads out of the allowed directory",
			"name the file itself, or copy it to where the link is")
	}
	return diskdir.Fault(err, "opening the source")
}

// forgetSource removes an upload once it is a template, also when an earlier call did not come so far.
func forgetSource(req *driverpb.ImportTemplateRequest) error {
	path := req.GetUpload()
	if path == "" {
		return nil
	}
	if err := checkUpload(req); err != nil {
		return err
	}
	if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing upload: %w", err)
	}
	return nil
}
