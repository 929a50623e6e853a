package directoryimages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages/download"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	partSuffix      = ".part"
	validatorSuffix = ".validator"
)

// part is a download that may go on over several calls and processes. Only one process works on it: its file is
// locked.
type part struct {
	store *store
	id    string
	file  *os.File
}

// vouched is what a server said of the beginning that is here, and which source that was: of a URL, which may hold a
// secret, only the hash.
type vouched struct {
	Source string `json:"source"`
	download.Validator
}

func sourceHash(url string) string {
	sum := sha256.Sum256([]byte(url))
	return hex.EncodeToString(sum[:])
}

// openPart opens or begins the download of a template.
func (s *store) openPart(id string) (*part, error) {
	file, err := s.Dir.CreateFile(folderDownloads, id+partSuffix)
	if errors.Is(err, fs.ErrPermission) { // sealed by a process that was killed before it could publish it
		if err := s.removePart(id); err != nil {
			return nil, err
		}
		file, err = s.Dir.CreateFile(folderDownloads, id+partSuffix)
	}
	if err != nil {
		return nil, fmt.Errorf("beginning the download: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, sdk.Transient("import-running", "another process is downloading this template")
		}
		return nil, fmt.Errorf("locking the download: %w", err)
	}
	return &part{store: s, id: id, file: file}, nil
}

// File implements content.
func (p *part) File() *os.File { return p.file }

// Publish implements content.
func (p *part) Publish(folder, name string) error {
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("syncing the download: %w", err)
	}
	if err := p.store.Dir.Move(folderDownloads, p.id+partSuffix, folder, name); err != nil {
		return err
	}
	return p.store.Dir.Remove(folderDownloads, p.id+validatorSuffix)
}

// Discard implements content.
func (p *part) Discard() {
	_ = p.store.removePart(p.id)
	p.close()
}

// close leaves what is here for a later call.
func (p *part) close() { _ = p.file.Close() }

func (s *store) removePart(id string) error {
	return errors.Join(s.Dir.Remove(folderDownloads, id+partSuffix), s.Dir.Remove(folderDownloads, id+validatorSuffix))
}

// known reads what vouches for the beginning that is here; nothing, if it is of another source.
func (p *part) known(source string) download.Validator {
	file, err := p.store.Dir.OpenFile(folderDownloads, p.id+validatorSuffix, unix.O_RDONLY)
	if err != nil {
		return download.Validator{}
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxNote))
	if err != nil {
		return download.Validator{}
	}
	var said vouched
	if json.Unmarshal(text, &said) != nil || said.Source != source {
		return download.Validator{}
	}
	return said.Validator
}

func (p *part) vouch(source string, validator download.Validator) error {
	text, err := json.Marshal(vouched{Source: source, Validator: validator})
	if err != nil {
		return sdk.Internal("encoding-validator", err)
	}
	staged, err := p.store.Dir.Stage(p.id)
	if err != nil {
		return diskdir.Fault(err, "beginning the download")
	}
	defer staged.Discard()
	if _, err := staged.File().Write(text); err != nil {
		return diskdir.Fault(err, "beginning the download")
	}
	return diskdir.Fault(staged.Replace(folderDownloads, p.id+validatorSuffix), "beginning the download")
}

// bringDownload downloads an image, verifies it and makes it a template. What is here stays for a later call unless
// the fault says that another call would come to the same end.
func (s *store) bringDownload(
	ctx context.Context, req *driverpb.ImportTemplateRequest, want expectation,
) (note, error) {
	id := req.GetCall().GetResource().GetId()
	arriving, err := s.openPart(id)
	if err != nil {
		return note{}, err
	}
	defer arriving.close()
	known, err := fetch(ctx, arriving, req, want)
	if err == nil {
		err = s.publish(id, arriving, known)
	}
	if isFinal(err) {
		arriving.Discard()
	}
	return known, err
}

// isFinal tells whether a failure is one that asking again does not mend.
func isFinal(err error) bool {
	return slices.Contains([]driverpb.Class{
		driverpb.Class_CLASS_INVALID, driverpb.Class_CLASS_DENIED, driverpb.Class_CLASS_NOT_FOUND,
		driverpb.Class_CLASS_EXHAUSTED, driverpb.Class_CLASS_CONFLICT,
	}, sdk.FaultOf(err).GetClass())
}

func fetch(
	ctx context.Context, into *part, req *driverpb.ImportTemplateRequest, want expectation,
) (note, error) {
	policy, err := download.ParsePolicy(req.GetEgress().GetAllowCidrs(), req.GetEgress().GetMaxRedirects())
	if err != nil {
		return note{}, err
	}
	source := sourceHash(req.GetUrl())
	resumed, err := download.Fetch(ctx, download.Request{
		URL: req.GetUrl(), Policy: policy, Limits: download.DefaultLimits(maxBytes(req)),
		File: into.file, Known: into.known(source),
		Begin: func(validator download.Validator) error { return into.vouch(source, validator) },
		Room:  into.store.Room,
		Progress: func(done, total int64) {
			if total == 0 {
				sdk.Progress(ctx, 1, fmt.Sprintf("downloaded %d MiB", done>>20))
				return
			}
			sdk.Progress(ctx, between(0, percentHere, done, total),
				fmt.Sprintf("downloaded %d of %d MiB", done>>20, total>>20))
		},
	})
	if err != nil {
		return note{}, err
	}
	known, err := verify(ctx, into.file, want)
	if !errors.Is(err, errChecksum) {
		return known, err
	}
	if !resumed {
		return note{}, checksumFault()
	}
	// The beginning may be damaged: a power failure can leave a hole where data was. Begin anew.
	if err := into.file.Truncate(0); err != nil {
		return note{}, diskdir.Fault(err, "giving up a damaged download")
	}
	return note{}, sdk.Transient("download-damaged", "the download was taken up again and came out wrong; it begins anew")
}

// partOf takes the name of a download's file apart.
func partOf(name string) (id string, ok bool) {
	id, ok = strings.CutSuffix(name, partSuffix)
	return id, ok && sdk.IsID(id)
}
