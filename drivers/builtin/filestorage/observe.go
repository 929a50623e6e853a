package filestorage

import (
	"context"
	"errors"
	"io/fs"
	"maps"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskstore"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Observe implements sdk.Resources: the volumes, snapshots and foreign files of a pool, or the snapshots of a volume.
func (s *fileStorage) Observe(ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error {
	p, err := openOwn(call)
	if err != nil {
		return err
	}
	defer p.Close()
	seen := observer{ctx: ctx, pool: p, found: found}
	switch call.GetResource().GetKind() {
	case kindPool:
		return errors.Join(seen.volumes(), seen.snapshots(""), seen.strangers())
	case kindVolume:
		return seen.snapshots(call.GetResource().GetId())
	}
	return nil
}

// observer tells what is in a pool.
type observer struct {
	ctx   context.Context //nolint:containedctx // it lives for one call
	pool  *pool
	found func(*driverpb.Observed) error
}

func (o *observer) each(folder string, tell func(diskdir.Entry) (*driverpb.Observed, error)) error {
	entries, err := o.pool.Dir.List(folder)
	if err != nil {
		return diskdir.Fault(err, "listing "+folder)
	}
	for _, entry := range entries {
		if err := o.ctx.Err(); err != nil {
			return err
		}
		seen, err := tell(entry)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && seen == nil) {
			continue // deleted since it was listed, or not asked for
		}
		if err == nil {
			err = o.found(seen)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *observer) volumes() error {
	return o.each(folderVolumes, func(entry diskdir.Entry) (*driverpb.Observed, error) {
		id, format, ok := cutFormat(entry.Name)
		if !ok || !sdk.IsID(id) || !entry.Regular {
			return diskstore.Observed(folderVolumes, entry, nil, nil), nil
		}
		return o.ours(folderVolumes, entry, &driverpb.Ref{Kind: kindVolume, Id: id}, format, nil)
	})
}

// snapshots tells the snapshots of one volume, or of all.
func (o *observer) snapshots(of string) error {
	return o.each(folderSnapshots, func(entry diskdir.Entry) (*driverpb.Observed, error) {
		parsed, ok := parseSnapshot(entry.Name)
		if of != "" && parsed.of != of {
			return nil, nil //nolint:nilnil // not asked for
		}
		if !ok || !entry.Regular {
			return diskstore.Observed(folderSnapshots, entry, nil, nil), nil
		}
		return o.ours(folderSnapshots, entry, &driverpb.Ref{Kind: kindSnapshot, Id: parsed.id}, parsed.format,
			diskstore.Facts{"volume": structpb.NewStringValue(parsed.of)})
	})
}

// ours tells a disk of ours. One that is damaged exists all the same.
func (o *observer) ours(
	folder string, entry diskdir.Entry, ref *driverpb.Ref, format string, more diskstore.Facts,
) (*driverpb.Observed, error) {
	facts := diskstore.Facts{
		"format":         structpb.NewStringValue(format),
		"allocatedBytes": structpb.NewNumberValue(float64(entry.Allocated)),
	}
	maps.Copy(facts, more)
	found, err := o.pool.stat(folder, entry.Name, format)
	switch fault := sdk.FaultOf(err); {
	case err == nil:
		entry.Bytes = found.bytes
	case fault != nil:
		facts["problem"] = structpb.NewStringValue(fault.GetMessage())
	default:
		return nil, err
	}
	return diskstore.Observed(folder, entry, ref, facts), nil
}

func (o *observer) strangers() error {
	strangers, err := o.pool.Strangers()
	if err != nil {
		return err
	}
	for _, seen := range strangers {
		if err := o.found(seen); err != nil {
			return err
		}
	}
	return nil
}
