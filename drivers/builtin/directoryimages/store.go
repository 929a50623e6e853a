package directoryimages

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// The properties of a store.
const (
	propertyPath        = "path"
	propertyAllow       = "allowPaths"
	propertyMinimumFree = "minimumFreeBytes"

	defaultMinimumFree = 1 << 30
)

const (
	folderTemplates = "templates"
	folderDownloads = "downloads"

	handleVersion = 1
)

func folders() []string { return []string{folderTemplates, folderDownloads} }

func pointer(property string) string { return "/properties/" + property }

// settings are a store's properties.
type settings struct {
	path        string
	allow       []string
	minimumFree uint64
}

// storeHandle remembers where a store is, and which directory that was.
type storeHandle struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode"`
}

// templateHandle saves a look for the format.
type templateHandle struct {
	Store  string `json:"store"`
	Format string `json:"format"`
}

func writeHandle(content any) (*driverpb.Handle, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return nil, sdk.Internal("encoding-handle", err)
	}
	return &driverpb.Handle{Version: handleVersion, Data: data}, nil
}

// readHandle reads a handle into content; an empty one leaves content as it is.
func readHandle(handle *driverpb.Handle, content any) error {
	if len(handle.GetData()) == 0 {
		return nil
	}
	if handle.GetVersion() != handleVersion {
		return sdk.Unsupported("handle-version", fmt.Sprintf("handle version %d can't be read", handle.GetVersion()))
	}
	if err := json.Unmarshal(handle.GetData(), content); err != nil {
		return sdk.Internal("handle-unreadable", fmt.Errorf("decoding handle: %w", err))
	}
	return nil
}

// pathOf reads the path that travels in a call; empty when none does.
func pathOf(call *driverpb.Call) string {
	return call.GetProperties().GetFields()[propertyPath].GetStringValue()
}

// settingsOf reads the properties that travel in a call. The path may also come from the store's handle.
func settingsOf(call *driverpb.Call, known storeHandle) (settings, error) {
	given := call.GetProperties().AsMap()
	found := settings{path: known.Path, minimumFree: defaultMinimumFree}
	if path := pathOf(call); path != "" {
		found.path = path
	}
	if found.path == "" {
		return settings{}, sdk.Invalid("path-required", pointer(propertyPath), "an image store needs a directory",
			"set the property path")
	}
	if known.Path != "" && known.Path != found.path {
		return settings{}, sdk.Invalid("path-immutable", pointer(propertyPath),
			fmt.Sprintf("the store is at %s and can't move to another directory", known.Path), "make a new store instead")
	}
	if allow, ok := given[propertyAllow].(string); ok && allow != "" {
		found.allow = strings.Split(allow, ":")
	}
	for _, path := range found.allow {
		if !strings.HasPrefix(path, "/") {
			return settings{}, sdk.Invalid("path-invalid", pointer(propertyAllow), "each path must be absolute",
				"separate absolute paths by colons")
		}
	}
	if minimum, ok := given[propertyMinimumFree].(float64); ok {
		if minimum < 0 || minimum > *maxMinimumFree() {
			return settings{}, sdk.Invalid("out-of-range", pointer(propertyMinimumFree),
				"the space to keep free must be between 0 and 1 PiB", "give a number of bytes")
		}
		found.minimumFree = uint64(minimum)
	}
	return found, nil
}

// store is an image store for the time of one call.
type store struct {
	settings
	id  string
	dir *diskdir.Dir
}

func (s *store) close() { s.dir.Close() }

// openStore opens the store a call is about. Every call checks the mark, so that a file system that is not mounted is
// noticed before anything is written below its mount point. A store that has no handle and no mark was never open.
func openStore(call *driverpb.Call, id string, handle *driverpb.Handle) (*store, error) {
	var known storeHandle
	if err := readHandle(handle, &known); err != nil {
		return nil, err
	}
	owner := diskdir.Owner{Kind: kindStore, ID: id}
	if known.Path == "" && pathOf(call) == "" {
		return nil, diskdir.NotOpenFault(owner)
	}
	found, err := settingsOf(call, known)
	if err != nil {
		return nil, err
	}
	dir, err := diskdir.Open(found.path, owner, folders()...)
	if err != nil && known.Inode == 0 && sdk.FaultOf(err).GetCode() == diskdir.CodeNotMounted {
		return nil, diskdir.NotOpenFault(owner)
	}
	if err != nil {
		return nil, err
	}
	return &store{settings: found, id: id, dir: dir}, nil
}

// OpenStore implements driverpb.ImagesServer. A store that was open before is never claimed anew: a directory without
// its mark is then a file system that is not mounted.
func (d *directoryImages) OpenStore(_ context.Context, req *driverpb.StoreRequest) (*driverpb.StoreReply, error) {
	call := req.GetCall()
	if len(call.GetHandle().GetData()) > 0 {
		opened, err := openStore(call, call.GetResource().GetId(), call.GetHandle())
		if err != nil {
			return nil, err
		}
		defer opened.close()
		return d.opened(opened)
	}
	found, err := settingsOf(call, storeHandle{})
	if err != nil {
		return nil, err
	}
	owner := diskdir.Owner{Kind: kindStore, ID: call.GetResource().GetId()}
	dir, err := diskdir.Claim(found.path, owner, pointer(propertyPath), folders()...)
	if err != nil {
		return nil, err
	}
	opened := &store{settings: found, id: owner.ID, dir: dir}
	defer opened.close()
	return d.opened(opened)
}

// opened clears away what killed processes left, and answers. Downloads stay, for they can be taken up again.
func (d *directoryImages) opened(opened *store) (*driverpb.StoreReply, error) {
	swept, err := opened.dir.Sweep()
	if err != nil {
		return nil, diskdir.Fault(err, "sweeping store")
	}
	for _, name := range swept {
		d.log.Info("removed a file that was never finished", slog.String("image_store_id", opened.id),
			slog.String("file", name))
	}
	return opened.reply()
}

func (s *store) reply() (*driverpb.StoreReply, error) {
	space, err := s.dir.Space()
	if err != nil {
		return nil, diskdir.Fault(err, "reading store")
	}
	inode, err := s.dir.Inode()
	if err != nil {
		return nil, diskdir.Fault(err, "reading store")
	}
	handle, err := writeHandle(storeHandle{Path: s.path, Inode: inode})
	return &driverpb.StoreReply{Handle: handle, TotalBytes: space.Total, UsedBytes: space.Used()}, err
}

// StatStore implements driverpb.ImagesServer.
func (d *directoryImages) StatStore(_ context.Context, req *driverpb.StoreRequest) (*driverpb.StoreReply, error) {
	call := req.GetCall()
	opened, err := openStore(call, call.GetResource().GetId(), call.GetHandle())
	if err != nil {
		return nil, err
	}
	defer opened.close()
	return opened.reply()
}

// CloseStore implements driverpb.ImagesServer. The directory is nobody's after it and may be used again.
func (d *directoryImages) CloseStore(_ context.Context, req *driverpb.StoreRequest) (*driverpb.OutcomeReply, error) {
	call := req.GetCall()
	var known storeHandle
	if err := readHandle(call.GetHandle(), &known); err != nil {
		return nil, err
	}
	path, owner := pathOf(call), diskdir.Owner{Kind: kindStore, ID: call.GetResource().GetId()}
	if path == "" {
		path = known.Path
	}
	// A store that could not be opened is closed to undo that, with the same wrong properties.
	absent, err := diskdir.Absent(path, owner, known.Inode)
	if err != nil {
		return nil, diskdir.Fault(err, "looking at the store's directory")
	}
	if absent {
		return &driverpb.OutcomeReply{}, nil
	}
	opened, err := openStore(call, owner.ID, call.GetHandle())
	if err != nil {
		return nil, err
	}
	defer opened.close()
	if err := opened.dir.Unclaim(); err != nil {
		return nil, diskdir.Fault(err, "closing store")
	}
	return &driverpb.OutcomeReply{}, nil
}

// room refuses to use more of the file system than the store's settings allow.
func (s *store) room(needed int64) error {
	space, err := s.dir.Space()
	if err != nil {
		return diskdir.Fault(err, "reading the store's space")
	}
	if space.Available < s.minimumFree || space.Available-s.minimumFree < uint64(max(needed, 0)) {
		return diskdir.NoSpaceFault(fmt.Sprintf("%d bytes are needed, %d are available and %d of them must stay free",
			needed, space.Available, s.minimumFree))
	}
	return nil
}
