package directoryimages

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskstore"
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
	id := call.GetResource().GetId()
	if id == "" {
		return ready, nil
	}
	opened, err := openOwn(call)
	if err != nil {
		return diskstore.Unready(err)
	}
	defer opened.Close()
	if call.GetResource().GetKind() == kindStore {
		return opened.Probe()
	}
	if _, err := opened.formatOf(id); err != nil {
		return diskstore.Unready(err)
	}
	return ready, nil
}

// Adopt implements sdk.Resources. The handle it returns is made anew from what is on disk.
func (d *directoryImages) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	opened, err := openOwn(call)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	if call.GetResource().GetKind() == kindStore {
		reply, err := opened.reply()
		return reply.GetHandle(), err
	}
	format, err := opened.formatOf(call.GetResource().GetId())
	if err != nil {
		return nil, err
	}
	return opened.templateHandle(format)
}

// Release implements sdk.Resources. Nothing is held between calls.
func (d *directoryImages) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

// Observe implements sdk.Resources: the templates and foreign files of a store.
func (d *directoryImages) Observe(
	ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error,
) error {
	opened, err := openOwn(call)
	if err != nil {
		return err
	}
	defer opened.Close()
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
	templates, err := s.Dir.List(folderTemplates)
	if err != nil {
		return nil, err
	}
	var seen []*driverpb.Observed
	for _, entry := range templates {
		id, format, ok := parseTemplate(entry.Name)
		switch {
		case ok && entry.Regular:
			seen = append(seen, diskstore.Observed(folderTemplates, entry, &driverpb.Ref{Kind: kindTemplate, Id: id},
				diskstore.Facts{"format": structpb.NewStringValue(format)}))
		case entry.Regular && s.isNote(entry.Name):
		default:
			seen = append(seen, diskstore.Observed(folderTemplates, entry, nil, nil))
		}
	}
	downloads, err := s.Dir.List(folderDownloads)
	if err != nil {
		return nil, err
	}
	for _, entry := range downloads {
		if id, ok := partOf(entry.Name); ok {
			seen = append(seen, diskstore.Observed(folderDownloads, entry, nil,
				diskstore.Facts{"downloadOf": structpb.NewStringValue(id)}))
		}
	}
	strangers, err := s.Strangers()
	return append(seen, strangers...), err
}

// isNote tells whether a file is the note of a template that is there.
func (s *store) isNote(name string) bool {
	id, ok := strings.CutSuffix(name, noteSuffix)
	if !ok || !sdk.IsID(id) {
		return false
	}
	_, err := s.find(id)
	return err == nil
}
