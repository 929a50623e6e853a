package filestorage

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	statePresent = "present"
	stateForeign = "foreign"
)

// Observe implements sdk.Resources: the volumes, snapshots and foreign files of a pool, or the snapshots of a volume.
func (s *fileStorage) Observe(ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error {
	p, err := openOwn(call)
	if err != nil {
		return err
	}
	defer p.close()
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
	entries, err := o.pool.dir.List(folder)
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
		if !ok || !isID(id) || !entry.Regular {
			return foreign(folderVolumes, entry, nil)
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
			return foreign(folderSnapshots, entry, nil)
		}
		return o.ours(folderSnapshots, entry, &driverpb.Ref{Kind: kindSnapshot, Id: parsed.id}, parsed.format,
			map[string]any{"volume": parsed.of})
	})
}

// ours tells a disk of ours. One that is damaged exists all the same.
func (o *observer) ours(
	folder string, entry diskdir.Entry, ref *driverpb.Ref, format string, facts map[string]any,
) (*driverpb.Observed, error) {
	all := map[string]any{"format": format, "allocatedBytes": float64(entry.Allocated)}
	maps.Copy(all, facts)
	bytes := entry.Bytes
	found, err := o.pool.stat(folder, entry.Name, format)
	switch fault := sdk.FaultOf(err); {
	case err == nil:
		bytes = found.bytes
	case fault != nil:
		all["problem"] = fault.GetMessage()
	default:
		return nil, err
	}
	told, err := structpb.NewStruct(all)
	if err != nil {
		return nil, sdk.Internal("encoding-facts", err)
	}
	return &driverpb.Observed{
		Resource: ref, Name: folder + "/" + entry.Name, Bytes: uint64(bytes), State: statePresent, Facts: told,
	}, nil
}

// strangers tells what is in the directory itself, and what killed processes left in the making.
func (o *observer) strangers() error {
	strangers, err := o.pool.dir.Strangers()
	if err != nil {
		return diskdir.Fault(err, "listing pool")
	}
	leftovers, err := o.pool.dir.Leftovers()
	if err != nil {
		return diskdir.Fault(err, "listing what was never finished")
	}
	for _, entry := range strangers {
		if err := o.tellForeign("", entry, nil); err != nil {
			return err
		}
	}
	for _, entry := range leftovers {
		if err := o.tellForeign("staging", entry, map[string]any{"unfinished": true}); err != nil {
			return err
		}
	}
	return nil
}

func (o *observer) tellForeign(folder string, entry diskdir.Entry, facts map[string]any) error {
	seen, err := foreign(folder, entry, facts)
	if err != nil {
		return err
	}
	return o.found(seen)
}

func foreign(folder string, entry diskdir.Entry, facts map[string]any) (*driverpb.Observed, error) {
	told, err := structpb.NewStruct(facts)
	if err != nil {
		return nil, sdk.Internal("encoding-facts", err)
	}
	name := entry.Name
	if folder != "" {
		name = folder + "/" + name
	}
	return &driverpb.Observed{
		Name: strings.ToValidUTF8(name, "?"), Bytes: uint64(entry.Bytes), State: stateForeign, Facts: told,
	}, nil
}
