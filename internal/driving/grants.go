package driving

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// pathsAsked and pathsFound remember what pathsOf found: it is asked for each call,
// and changes when a pool or store does, or a driver says what it is.
type pathsAsked struct {
	kind      resources.Kind
	readWrite bool
}

type pathsFound struct {
	changes uint64
	grants  []host.Grant
}

// present leaves out what is not there: a pool that was lost is no reason to keep a driver from all others.
func present(grants []host.Grant) []host.Grant {
	return slices.DeleteFunc(grants, func(g host.Grant) bool {
		_, err := os.Lstat(g.Path)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// blame names the property whose path was refused.
func (d *Drivers) blame(product string, properties map[string]any, err error) error {
	e, ok := errors.AsType[*resources.Error](operations.FromFault(err))
	if !ok || len(e.Fields) > 0 {
		return err
	}
	for _, p := range d.naming(product) {
		path, given := properties[p.Key].(string)
		if given && strings.Contains(e.Message, path) {
			e.Fields = []resources.FieldError{{Pointer: "/spec/properties/" + p.Key, Code: e.Code, Message: e.Message}}
		}
	}
	return e
}

// grantsOf lists the paths that properties name.
func (d *Drivers) grantsOf(product string, properties map[string]any) []host.Grant {
	var grants []host.Grant
	for _, p := range d.naming(product) {
		path, ok := properties[p.Key].(string)
		if !ok || path == "" {
			continue
		}
		for one := range strings.SplitSeq(path, ":") {
			grants = append(grants, host.Grant{Path: one, ReadWrite: p.PathAccess == property.AccessReadWrite})
		}
	}
	return grants
}

// knownGrants lists the paths that the resources name which a product acts for: any of its versions can be the one that
// acts for one, and each can be given one of another's.
func (d *Drivers) knownGrants(v Version) []host.Grant {
	product := v.Product
	var grants []host.Grant
	for _, kind := range []resources.Kind{
		resources.KindPool, resources.KindImageStore, resources.KindHost, resources.KindNetwork,
	} {
		err := d.state.Bound(kind, func(b Bound) bool {
			// The paths of one that failed may never have been given.
			if b.Product == product && d.isHere(b.Node) && b.Phase != resources.PhaseFailed {
				grants = append(grants, d.grantsOf(product, b.Properties)...)
			}
			return true
		})
		if err != nil {
			d.log.Warn("reading the paths a driver needs failed", slog.String("driver", product), slog.Any("error", err))
		}
	}
	return append(grants, d.sharedGrants(v)...)
}

// sharedGrants lists the paths that drivers need of others, by what they can do:
// image drivers the spool of uploads, storage of files the templates it copies,
// hypervisors that open files the pools and templates guests' disks are in.
func (d *Drivers) sharedGrants(v Version) []host.Grant {
	d.mu.Lock()
	can := d.described[v].raw
	d.mu.Unlock()
	var grants []host.Grant
	if d.spool != "" && slices.Contains(can.GetImageSources(), "upload") {
		grants = append(grants, host.Grant{Path: d.spool, ReadWrite: true})
	}
	opens := slices.Contains(can.GetVolumeProtocols(), protocolFile)
	if opens || can.GetProtocol() == protocolFile {
		grants = append(grants, d.pathsOf(resources.KindImageStore, false)...)
	}
	if opens {
		grants = append(grants, d.pathsOf(resources.KindPool, true)...)
	}
	return grants
}

// protocolFile is how volumes that are files on the host are opened.
const protocolFile = "file"

// pathsOf lists the paths that the ready resources of a kind are kept in.
func (d *Drivers) pathsOf(kind resources.Kind, readWrite bool) []host.Grant {
	asked, changes := pathsAsked{kind, readWrite}, d.state.Changes(kind)
	d.mu.Lock()
	last, known := d.paths[asked]
	learned := d.learned
	d.mu.Unlock()
	if known && last.changes == changes {
		return slices.Clone(last.grants)
	}
	grants, err := d.readPaths(kind, readWrite)
	if err != nil {
		d.log.Warn("reading paths failed", slog.String("kind", string(kind)), slog.Any("error", err))
		return grants
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.learned == learned {
		d.paths[asked] = pathsFound{changes: changes, grants: slices.Clone(grants)}
	}
	return grants
}

func (d *Drivers) readPaths(kind resources.Kind, readWrite bool) (grants []host.Grant, err error) {
	err = d.state.Bound(kind, func(b Bound) bool {
		if b.Phase != resources.PhaseReady || !b.Shared && !d.isHere(b.Node) {
			return true
		}
		for _, g := range d.grantsOf(b.Product, b.Properties) {
			if g.ReadWrite {
				grants = append(grants, host.Grant{Path: g.Path, ReadWrite: readWrite})
			}
		}
		return true
	})
	return grants, err
}

// regrant gives an instance the paths of the resources bound to it, now that it
// has said which of its properties name paths.
func (d *Drivers) regrant(ctx context.Context, i *host.Instance) error {
	grants := present(d.knownGrants(d.versionOf(i)))
	if len(grants) == 0 {
		return nil
	}
	return d.host.EnsureGrants(ctx, i.Name(), grants)
}
