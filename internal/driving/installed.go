package driving

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// trouble is why a version has no process here.
type trouble struct{ state, reason string }

func (d *Drivers) note(v Version, t trouble) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.troubles[v] != t {
		d.log.Warn("a version of a driver can't be run here", slog.String("driver", v.String()),
			slog.String("state", t.state), slog.String("reason", t.reason))
	}
	d.troubles[v] = t
}

func (d *Drivers) fail(v Version, err error) {
	d.note(v, trouble{resources.TroubleFailed, err.Error()})
}

func (d *Drivers) troubleOf(v Version) (trouble, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, is := d.troubles[v]
	return t, is
}

func (d *Drivers) shownTroubles() map[Version]resources.Instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	shown := map[Version]resources.Instance{}
	for v, t := range d.troubles {
		shown[v] = resources.Instance{Node: d.node, State: t.state, LastError: t.reason}
	}
	return shown
}

// shelved receives when there is another archive.
func (d *Drivers) shelved() <-chan struct{} {
	if d.shelf == nil {
		return nil
	}
	return d.shelf.Changed()
}

// bring returns the version of a record, if it can be run here: what is installed is taken from the shelf when it is
// there. Otherwise it notes why not.
func (d *Drivers) bring(ctx context.Context, record *resources.Driver) (*version, bool) {
	v := VersionOf(record)
	if one, here := d.here(v); here || v.Number == "" {
		return one, here
	}
	if d.shelf == nil {
		return nil, false
	}
	digest := record.Spec.Digest
	if mark, bad := d.shelf.Bad(digest); bad {
		if mark >= record.Spec.Installs {
			d.note(v, trouble{resources.TroubleQuarantined, quarantineWords})
			return nil, false
		}
		if err := d.shelf.Pardon(ctx, digest, record.Spec.Tree); err != nil {
			d.fail(v, err)
			return nil, false
		}
	}
	one, err := d.unpacked(ctx, record)
	switch {
	case err == nil:
		d.welcome(one, record)
		return one, true
	case errors.Is(err, fs.ErrNotExist):
		why := "its archive is not here yet: nodes that have it give it"
		if refused := d.shelf.Refused(digest); refused != nil {
			why = "its archive could not be taken in, it is given again: " + refused.Error()
		}
		d.note(v, trouble{resources.TroubleFetching, why})
	case errors.Is(err, archive.ErrCorrupt):
		d.quarantine(&version{Version: v, digest: digest, installs: record.Spec.Installs}, err)
	default:
		d.fail(v, err)
	}
	return nil, false
}

// welcome takes in a version that is here now, and what its archive says of it.
func (d *Drivers) welcome(one *version, record *resources.Driver) {
	d.mu.Lock()
	d.versions[one.Version] = one
	delete(d.troubles, one.Version)
	_, known := d.described[one.Version]
	d.mu.Unlock()
	if !known {
		d.recall(record)
	}
}

const quarantineWords = "what it was unpacked to was changed on this machine; it is kept in the data directory, " +
	"under archives/sha256, in .quarantined-...: see who changed it, then install the same archive again, " +
	"and it is replaced"

// unpacked reads what a version is from its archive.
func (d *Drivers) unpacked(ctx context.Context, record *resources.Driver) (*version, error) {
	v, digest := VersionOf(record), record.Spec.Digest
	found, err := d.shelf.Load(ctx, digest, record.Spec.Tree)
	if err != nil {
		return nil, err
	}
	if err := found.Declaration.RunsUnder(d.program); err != nil {
		return nil, err
	}
	one := &version{
		Version: v, digest: digest, tree: record.Spec.Tree, installs: record.Spec.Installs,
		requires: found.Declaration.Required(),
	}
	dir := d.shelf.Dir(digest)
	if one.manifest, err = found.Declaration.Manifest(Platform(), dir); err != nil {
		return nil, err
	}
	if record.ProgramVersion() != one.manifest.Version {
		return nil, fmt.Errorf("its archive holds version %s", one.manifest.Version)
	}
	one.manifest.Version = v.Number
	if shipped, here := d.here(Version{Product: v.Product}); here && shipped.manifest.Version == v.Number {
		return nil, fmt.Errorf("the program here has version %s itself, which is used instead", v.Number)
	}
	texts := os.DirFS(filepath.Join(dir, "resources"))
	if _, err := fs.Stat(texts, "messages"); err == nil {
		if one.messages, err = property.ReadMessages(texts, "messages"); err != nil {
			return nil, fmt.Errorf("driver %s: %w", v, err)
		}
	}
	return one, nil
}

// Platform is what programs are built for that run here.
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// check implements host.Config.Check: what is installed must be what it was whenever a process of it is started.
func (d *Drivers) check(ctx context.Context, m host.Manifest) error {
	one, installed := d.here(Version{m.Name, m.Version})
	if !installed {
		return nil
	}
	err := d.shelf.Verify(ctx, one.digest, one.tree)
	if errors.Is(err, archive.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
		d.note(one.Version, trouble{resources.TroubleQuarantined, err.Error()})
		d.lookAgain()
	}
	return err
}

// quarantine takes a version out of use. Nothing runs from it.
func (d *Drivers) quarantine(one *version, why error) {
	words := quarantineWords
	if why != nil {
		words = why.Error() + ": " + words
	}
	if err := d.shelf.Quarantine(one.digest, d.installsOf(one)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		words += " (" + err.Error() + ")"
	}
	d.note(one.Version, trouble{resources.TroubleQuarantined, words})
}

// installsOf is how often the archive of a version was installed again: whatever variants are made of it, that must be
// done once more before anything is run from it.
func (d *Drivers) installsOf(one *version) (most uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	most = one.installs
	for _, other := range d.versions {
		if other.digest == one.digest {
			most = max(most, other.installs)
		}
	}
	return most
}

// retire ends the processes of versions that are installed no more, or must not be run, and removes what they came in.
func (d *Drivers) retire(ctx context.Context, records []*resources.Driver) error {
	if d.shelf == nil {
		return nil
	}
	known := map[Version]string{} // the digest
	for _, r := range records {
		known[VersionOf(r)] = r.Spec.Digest
	}
	var failed error
	for _, one := range lastFirst(d.ending(known)) {
		if err := d.host.Stop(ctx, one.instanceName()); err != nil {
			failed = errors.Join(failed, fmt.Errorf("stopping driver %s: %w", one, err))
			continue
		}
		d.mu.Lock()
		delete(d.versions, one.Version)
		delete(d.described, one.Version)
		clear(d.namingPaths)
		delete(d.inForce, one.Version)
		d.mu.Unlock()
		if known[one.Version] == one.digest {
			d.quarantine(one, nil)
		}
	}
	return errors.Join(failed, d.tidy(records))
}

// ending lists the versions that are not to be here any more, or not as they are: those that the zone does not know, or
// knows from another archive, and those that were found to be changed.
func (d *Drivers) ending(known map[Version]string) (list []*version) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for v, one := range d.versions {
		if v.Number != "" && (known[v] != one.digest || d.troubles[v].state == resources.TroubleQuarantined) {
			list = append(list, one)
		}
	}
	for v := range d.troubles {
		if _, is := known[v]; !is {
			delete(d.troubles, v)
		}
	}
	return list
}

// keepOnly removes what is on the shelf of versions that the zone does not know.
func (d *Drivers) keepOnly(records []*resources.Driver) error {
	if d.shelf == nil {
		return nil
	}
	d.archives = archivesOf(records)
	return d.shelf.Keep(d.archives)
}

func archivesOf(records []*resources.Driver) map[string]bool {
	digests := map[string]bool{}
	for _, r := range records {
		if r.Spec.Digest != "" {
			digests[r.Spec.Digest] = true
		}
	}
	return digests
}

// tidy removes the archives of versions that the zone knew and does not know any more. One that came before its record
// stays until the next start: an install gives it to others first.
func (d *Drivers) tidy(records []*resources.Driver) error {
	now, failed := archivesOf(records), error(nil)
	for digest := range d.archives {
		if !now[digest] {
			failed = errors.Join(failed, d.shelf.Remove(digest))
		}
	}
	d.archives = now
	return failed
}
