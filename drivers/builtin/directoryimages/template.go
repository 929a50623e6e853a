package directoryimages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	noteSuffix  = ".json"
	noteVersion = 1
	maxNote     = 16 << 10
)

// note is what is known of a template, in a file beside it, so that nobody has to read all of it again.
type note struct {
	Version      int    `json:"version"`
	Format       string `json:"format"`
	FileBytes    int64  `json:"fileBytes"`
	VirtualBytes int64  `json:"virtualBytes"`
	// Algorithm of the checksum that was declared, or sha256.
	Algorithm string            `json:"algorithm"`
	Checksums map[string]string `json:"checksums"`
}

func formats() []string {
	return []string{string(imageformat.Raw), string(imageformat.QCOW2), string(imageformat.ISO)}
}

func templateName(id, format string) string { return id + "." + format }

// parseTemplate takes the name of a template's file apart.
func parseTemplate(name string) (id, format string, ok bool) {
	for _, format := range formats() {
		if id, ok := strings.CutSuffix(name, "."+format); ok && sdk.IsID(id) {
			return id, format, true
		}
	}
	return "", "", false
}

// find finds the format of a template; fs.ErrNotExist when there is none.
func (s *store) find(id string) (string, error) {
	for _, format := range formats() {
		_, err := s.Stat(folderTemplates, templateName(id, format))
		if !errors.Is(err, fs.ErrNotExist) {
			return format, err
		}
	}
	return "", fmt.Errorf("template %s: %w", id, fs.ErrNotExist)
}

// formatOf is find with errors that are faults.
func (s *store) formatOf(id string) (string, error) {
	format, err := s.find(id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", sdk.NotFound("template-missing", "template "+id+" is not in the store",
			"check that the store's file system is the right one")
	}
	return format, diskdir.Fault(err, "looking for template "+id)
}

// noteOf reads what is known of a template that is there. A note that is missing or does not fit is made anew from the
// template itself, which takes as long as reading it.
func (s *store) noteOf(ctx context.Context, id, format string) (note, error) {
	entry, err := s.Dir.Stat(folderTemplates, templateName(id, format))
	if err != nil {
		return note{}, err
	}
	found, err := s.readNote(id)
	if err == nil && found.Format == format && found.FileBytes == entry.Bytes && found.Checksums[found.Algorithm] != "" {
		return found, nil
	}
	file, err := s.Dir.OpenFile(folderTemplates, templateName(id, format), unix.O_RDONLY)
	if err != nil {
		return note{}, err
	}
	defer func() { _ = file.Close() }()
	return verify(ctx, file, expectation{format: imageformat.Format(format), field: "/format"})
}

func (s *store) readNote(id string) (note, error) {
	file, err := s.Dir.OpenFile(folderTemplates, id+noteSuffix, unix.O_RDONLY)
	if err != nil {
		return note{}, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxNote))
	if err != nil {
		return note{}, fmt.Errorf("reading note of template %s: %w", id, err)
	}
	var found note
	if err := json.Unmarshal(content, &found); err != nil {
		return note{}, fmt.Errorf("decoding note of template %s: %w", id, err)
	}
	if found.Version != noteVersion {
		return note{}, fmt.Errorf("note of template %s: version %d: %w", id, found.Version, fs.ErrInvalid)
	}
	return found, nil
}

func (s *store) writeNote(id string, known note) error {
	content, err := json.Marshal(known)
	if err != nil {
		return sdk.Internal("encoding-note", err)
	}
	staged, err := s.Dir.Stage(id)
	if err != nil {
		return err
	}
	defer staged.Discard()
	if _, err := staged.File().Write(content); err != nil {
		return fmt.Errorf("writing note: %w", err)
	}
	return staged.Replace(folderTemplates, id+noteSuffix)
}

func (s *store) templateHandle(format string) (*driverpb.Handle, error) {
	return sdk.WriteHandle(handleVersion, templateHandle{Store: s.ID, Format: format})
}

// templateReply answers with the checksum that was declared.
func (s *store) templateReply(id string, known note) (*driverpb.TemplateReply, error) {
	handle, err := s.templateHandle(known.Format)
	if err != nil {
		return nil, err
	}
	return &driverpb.TemplateReply{
		Handle: handle, Format: known.Format,
		FileBytes: uint64(known.FileBytes), VirtualBytes: uint64(known.VirtualBytes),
		Checksum: known.Algorithm + ":" + known.Checksums[known.Algorithm],
		Path:     s.Dir.Path(folderTemplates, templateName(id, known.Format)),
	}, nil
}

// StatTemplate implements driverpb.ImagesServer.
func (d *directoryImages) StatTemplate(
	ctx context.Context, req *driverpb.TemplateRequest,
) (*driverpb.TemplateReply, error) {
	id := req.GetCall().GetResource().GetId()
	opened, err := openStore(req.GetCall(), req.GetStore())
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	known, err := opened.known(ctx, id)
	if err != nil {
		return nil, err
	}
	return opened.templateReply(id, known)
}

// known reads what is known of a template; its errors are faults.
func (s *store) known(ctx context.Context, id string) (note, error) {
	format, err := s.formatOf(id)
	if err != nil {
		return note{}, err
	}
	known, err := s.noteOf(ctx, id, format)
	if err != nil {
		return note{}, diskdir.Fault(err, "reading template "+id)
	}
	return known, nil
}

// DeleteTemplate implements driverpb.ImagesServer. It also removes what an import that failed left of a download.
func (d *directoryImages) DeleteTemplate(
	_ context.Context, req *driverpb.TemplateRequest,
) (*driverpb.OutcomeReply, error) {
	call, id := req.GetCall(), req.GetCall().GetResource().GetId()
	opened, err := openStore(call, req.GetStore())
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	if err := opened.remove(id); err != nil {
		return nil, diskdir.Fault(err, "deleting template "+id)
	}
	return &driverpb.OutcomeReply{}, nil
}

func (s *store) remove(id string) error {
	for _, format := range formats() {
		if err := s.refuseInUse(templateName(id, format)); err != nil {
			return err
		}
		if err := s.Dir.Remove(folderTemplates, templateName(id, format)); err != nil {
			return err
		}
	}
	if err := s.Dir.Remove(folderTemplates, id+noteSuffix); err != nil {
		return err
	}
	return s.removePart(id)
}

// refuseInUse refuses to delete what a machine has in its drive.
func (s *store) refuseInUse(name string) error {
	file, err := s.OpenFile(folderTemplates, name, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	used, err := diskdir.InUse(file)
	if err != nil || !used {
		return err
	}
	return sdk.Conflict("template-in-use", "a running process has the template open", "stop the machine that has it")
}

// seal makes a template's file one that nobody writes to.
func seal(file *os.File) error {
	if err := file.Chmod(0o440); err != nil {
		return fmt.Errorf("making the template read-only: %w", err)
	}
	return nil
}
