package directoryimages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Configure implements sdk.Resources. The driver has no settings of its own.
func (d *directoryImages) Configure(context.Context, map[string]any, map[string]string) error {
	return nil
}

// Probe implements sdk.Resources.
func (d *directoryImages) Probe(_ context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	ready := &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}
	if call.GetResource().GetId() == "" {
		return ready, nil
	}
	opened, err := openOwn(call)
	if err != nil {
		return unready(err)
	}
	defer opened.close()
	if id := call.GetResource().GetId(); call.GetResource().GetKind() == kindTemplate {
		_, err := opened.find(id)
		if errors.Is(err, fs.ErrNotExist) {
			err = templateMissing(id)
		}
		if err != nil {
			return unready(diskdir.Fault(err, "probing"))
		}
		return ready, nil
	}
	space, err := opened.dir.Space()
	if err != nil {
		return unready(diskdir.Fault(err, "reading the store's space"))
	}
	if space.Available <= opened.minimumFree {
		return &driverpb.ProbeReply{
			Health: driverpb.ProbeReply_HEALTH_DEGRADED,
			Reason: fmt.Sprintf("the store takes no new templates: %d bytes are available and %d must stay free; free space",
				space.Available, opened.minimumFree),
		}, nil
	}
	return ready, nil
}

// unready makes an answer of a fault: that a resource can't be reached is no failure of the probe.
func unready(err error) (*driverpb.ProbeReply, error) {
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

// openOwn opens the store that a call of Base is about or belongs to. Calls about templates name no store: the handle
// does, or else the mark at the path.
func openOwn(call *driverpb.Call) (*store, error) {
	switch call.GetResource().GetKind() {
	case kindStore:
		return openStore(call, call.GetResource().GetId(), call.GetHandle())
	case kindTemplate:
	default:
		return nil, sdk.Invalid("kind-unknown", "/call/resource/kind", "this driver serves image stores and templates", "")
	}
	var known templateHandle
	if err := readHandle(call.GetHandle(), &known); err != nil {
		return nil, err
	}
	if known.Store != "" {
		return openStore(call, known.Store, nil)
	}
	found, err := settingsOf(call, storeHandle{})
	if err != nil {
		return nil, err
	}
	owner, err := diskdir.OwnerOf(found.path)
	if err != nil {
		return nil, err
	}
	return openStore(call, owner.ID, nil)
}

// Adopt implements sdk.Resources. The handle it returns is made anew from what is on disk.
func (d *directoryImages) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	opened, err := openOwn(call)
	if err != nil {
		return nil, err
	}
	defer opened.close()
	if call.GetResource().GetKind() == kindStore {
		reply, err := opened.reply()
		return reply.GetHandle(), err
	}
	id := call.GetResource().GetId()
	format, err := opened.find(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, templateMissing(id)
	}
	if err != nil {
		return nil, diskdir.Fault(err, "looking for template "+id)
	}
	return writeHandle(templateHandle{Store: opened.id, Format: format})
}

// Release implements sdk.Resources. Nothing is held between calls.
func (d *directoryImages) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

const (
	statePresent = "present"
	stateForeign = "foreign"
)

// Observe implements sdk.Resources: the templates and foreign files of a store.
func (d *directoryImages) Observe(
	ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error,
) error {
	opened, err := openOwn(call)
	if err != nil {
		return err
	}
	defer opened.close()
	if call.GetResource().GetKind() != kindStore {
		return nil // nothing is inside a template
	}
	seen, err := opened.observe()
	if err != nil {
		return diskdir.Fault(err, "listing store")
	}
	for _, one := range seen {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := found(one); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) observe() ([]*driverpb.Observed, error) {
	templates, err := s.dir.List(folderTemplates)
	if err != nil {
		return nil, err
	}
	var seen []*driverpb.Observed
	for _, entry := range templates {
		id, format, ok := parseTemplate(entry.Name)
		switch {
		case ok && entry.Regular:
			seen = append(seen, observed(folderTemplates, entry, &driverpb.Ref{Kind: kindTemplate, Id: id}, "format", format))
		case entry.Regular && s.isNote(entry.Name):
		default:
			seen = append(seen, observed(folderTemplates, entry, nil, "", ""))
		}
	}
	downloads, err := s.dir.List(folderDownloads)
	if err != nil {
		return nil, err
	}
	for _, entry := range downloads {
		if id, ok := partOf(entry.Name); ok {
			seen = append(seen, observed(folderDownloads, entry, nil, "downloadOf", id))
		}
	}
	rest, err := s.observeRest()
	return append(seen, rest...), err
}

// observeRest tells strangers, and what killed processes left in the making.
func (s *store) observeRest() ([]*driverpb.Observed, error) {
	strangers, err := s.dir.Strangers()
	if err != nil {
		return nil, err
	}
	leftovers, err := s.dir.Leftovers()
	if err != nil {
		return nil, err
	}
	var seen []*driverpb.Observed
	for _, entry := range strangers {
		seen = append(seen, observed("", entry, nil, "", ""))
	}
	for _, entry := range leftovers {
		seen = append(seen, observed("staging", entry, nil, "unfinished", "true"))
	}
	return seen, nil
}

// isNote tells whether a file is the note of a template that is there.
func (s *store) isNote(name string) bool {
	id, ok := strings.CutSuffix(name, noteSuffix)
	if !ok || !isID(id) {
		return false
	}
	_, err := s.find(id)
	return err == nil
}

// observed tells one file, ours or, without a ref, foreign.
func observed(folder string, entry diskdir.Entry, ref *driverpb.Ref, fact, value string) *driverpb.Observed {
	name := entry.Name
	if folder != "" {
		name = folder + "/" + name
	}
	told := &driverpb.Observed{
		Resource: ref, Name: strings.ToValidUTF8(name, "?"), Bytes: uint64(entry.Bytes), State: stateForeign,
		Facts: &structpb.Struct{Fields: map[string]*structpb.Value{}},
	}
	if ref != nil {
		told.State = statePresent
	}
	if fact != "" {
		told.Facts.Fields[fact] = structpb.NewStringValue(value)
	}
	return told
}
