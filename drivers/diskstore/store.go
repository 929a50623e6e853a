package diskstore

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Store is the directory of a resource for the time of one call.
type Store struct {
	settings
	ID   string
	Dir  *diskdir.Dir
	kind Kind
}

// Reference names a store and brings its handle: the reference in a call about one of its parts, or a call about the
// store itself.
type Reference interface {
	GetResource() *driverpb.Ref
	GetHandle() *driverpb.Handle
}

// Open opens the store that a call refers to. Every call checks the mark, so that a file system that is not mounted is
// noticed before anything is written below its mount point. A store that has no handle and no mark was never open.
// The caller closes it.
func (k Kind) Open(call *driverpb.Call, store Reference) (*Store, error) {
	var known Handle
	if err := sdk.ReadHandle(store.GetHandle(), k.HandleVersion, &known); err != nil {
		return nil, err
	}
	owner := diskdir.Owner{Kind: k.Name, ID: store.GetResource().GetId()}
	if known.Path == "" && pathOf(call) == "" {
		return nil, diskdir.NotOpenFault(owner)
	}
	found, err := k.settingsOf(call, known)
	if err != nil {
		return nil, err
	}
	dir, err := diskdir.Open(found.path, owner, k.Folders...)
	if err != nil && known.Inode == 0 && sdk.FaultOf(err).GetCode() == diskdir.CodeNotMounted {
		return nil, diskdir.NotOpenFault(owner)
	}
	if err != nil {
		return nil, err
	}
	return &Store{settings: found, ID: owner.ID, Dir: dir, kind: k}, nil
}

// OpenOf opens the store that a call of Base is about or belongs to. Calls about parts name no store: their handle
// does, or else the mark at the path.
func (k Kind) OpenOf(call *driverpb.Call) (*Store, error) {
	kind := call.GetResource().GetKind()
	if kind == k.Name {
		return k.Open(call, call)
	}
	if !slices.Contains(k.Parts, kind) {
		return nil, sdk.Invalid("kind-unknown", "/call/resource/kind",
			fmt.Sprintf("this driver serves %s and %s", k.Name, strings.Join(k.Parts, " and ")), "")
	}
	id, err := k.idOf(call)
	if err != nil {
		return nil, err
	}
	return k.Open(call, &driverpb.Call{Resource: &driverpb.Ref{Kind: k.Name, Id: id}})
}

// idOf finds the store that a part is in.
func (k Kind) idOf(call *driverpb.Call) (string, error) {
	var known map[string]any
	if err := sdk.ReadHandle(call.GetHandle(), k.HandleVersion, &known); err != nil {
		return "", err
	}
	if id, ok := known[k.Called].(string); ok && id != "" {
		return id, nil
	}
	found, err := k.settingsOf(call, Handle{})
	if err != nil {
		return "", err
	}
	owner, err := diskdir.OwnerOf(found.path)
	return owner.ID, err
}

// Claim opens the store that a call makes, and clears away what killed processes left. One that was open before is
// never claimed anew: a directory without its mark is then a file system that is not mounted. The caller closes it.
func (k Kind) Claim(call *driverpb.Call, log *slog.Logger) (*Store, error) {
	store, err := k.claim(call)
	if err != nil {
		return nil, err
	}
	if err := store.Sweep(log); err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

func (k Kind) claim(call *driverpb.Call) (*Store, error) {
	if len(call.GetHandle().GetData()) > 0 {
		return k.Open(call, call)
	}
	found, err := k.settingsOf(call, Handle{})
	if err != nil {
		return nil, err
	}
	owner := diskdir.Owner{Kind: k.Name, ID: call.GetResource().GetId()}
	dir, err := diskdir.Claim(found.path, owner, pointer(propertyPath), k.Folders...)
	if err != nil {
		return nil, err
	}
	return &Store{settings: found, ID: owner.ID, Dir: dir, kind: k}, nil
}

// Unclaim closes the store that a call is about for good. The directory is nobody's after it and may be used again.
func (k Kind) Unclaim(call *driverpb.Call) error {
	var known Handle
	if err := sdk.ReadHandle(call.GetHandle(), k.HandleVersion, &known); err != nil {
		return err
	}
	// A store that could not be opened is closed to undo that, with the same wrong properties.
	owner := diskdir.Owner{Kind: k.Name, ID: call.GetResource().GetId()}
	absent, err := diskdir.Absent(cmp.Or(pathOf(call), known.Path), owner, known.Inode)
	if err != nil {
		return diskdir.Fault(err, "looking at the "+k.Called+"'s directory")
	}
	if absent {
		return nil
	}
	store, err := k.Open(call, call)
	if err != nil {
		return err
	}
	defer store.Close()
	return diskdir.Fault(store.Dir.Unclaim(), "closing "+k.Called)
}

// Close gives the descriptors back.
func (s *Store) Close() { s.Dir.Close() }

// Sweep clears away what killed processes left in the making.
func (s *Store) Sweep(log *slog.Logger) error {
	swept, err := s.Dir.Sweep()
	for _, name := range swept {
		log.Info("removed a file that was never finished",
			slog.String("kind", s.kind.Name), slog.String("id", s.ID), slog.String("file", name))
	}
	return diskdir.Fault(err, "sweeping "+s.kind.Called)
}

// Handle is what the next calls must know of the store.
func (s *Store) Handle() (Handle, error) {
	inode, err := s.Dir.Inode()
	return Handle{Path: s.path, Inode: inode}, diskdir.Fault(err, "reading "+s.kind.Called)
}

// Probe answers for a store that is open.
func (s *Store) Probe() (*driverpb.ProbeReply, error) {
	space, err := s.Dir.Space()
	if err != nil {
		return Unready(diskdir.Fault(err, "reading the "+s.kind.Called+"'s space"))
	}
	if space.Available <= s.minimumFree {
		return &driverpb.ProbeReply{
			Health: driverpb.ProbeReply_HEALTH_DEGRADED,
			Reason: fmt.Sprintf("the %s takes no new %s: %d bytes are available and %d must stay free; free space",
				s.kind.Called, s.kind.Holds, space.Available, s.minimumFree),
		}, nil
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}, nil
}

// Unready makes an answer of a fault: that a resource can't be reached is no failure of the probe.
func Unready(err error) (*driverpb.ProbeReply, error) {
	fault := sdk.FaultOf(err)
	if fault == nil {
		return nil, err
	}
	reason := fault.GetMessage()
	if fault.GetRemedy() != "" {
		reason += "; " + fault.GetRemedy()
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_UNREADY, Reason: reason}, nil
}
