package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/settings"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// underTest is a driver as it is tested.
type underTest struct {
	manifest host.Manifest
	// declared is what its archive says that it answers to Describe; nil when there is no archive.
	declared *driverpb.DescribeReply
}

// drivers finds drivers to test. Archives are unpacked as a server does it, into a store of their own.
type drivers struct {
	dir   string
	store *archive.Store
}

// openDrivers makes a place for archives, which close removes.
func openDrivers() (*drivers, error) {
	dir, err := os.MkdirTemp("", "bhcar")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the driver: %w", err)
	}
	d := &drivers{dir: dir}
	err = os.Chmod(dir, 0o711) // drivers have users of their own, who must get to their programs
	if err == nil {
		d.store, err = archive.OpenStore(dir, archive.DefaultLimits())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a directory for the driver: %w", err), os.RemoveAll(dir))
	}
	return d, nil
}

func (d *drivers) close() error {
	err := d.store.Close()
	// What is unpacked is read-only, directories as well.
	_ = filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(d.dir))
}

// find finds a driver: an archive, a directory that an archive can be made of, or one that ships with us.
func (d *drivers) find(ctx context.Context, name string) (underTest, error) {
	for _, b := range node.BuiltIns() {
		executable, err := os.Executable()
		if err != nil {
			return underTest{}, fmt.Errorf("finding this program: %w", err)
		}
		if built := b.Manifest(executable); built.Name == name {
			return underTest{manifest: built}, nil
		}
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return underTest{}, cli.Usage(name+" is neither there nor a driver that ships with this program",
			"name an archive (.car), a directory with a driver.yaml, or one as bulkhead/filestorage")
	case err != nil:
		return underTest{}, cli.Usage(err.Error(), "")
	case !info.IsDir():
		return d.unpack(ctx, name)
	}
	packed := filepath.Join(d.dir, "packed.car")
	file, err := os.OpenFile(packed, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return underTest{}, fmt.Errorf("packing %s: %w", name, err)
	}
	_, err = archive.Pack(ctx, name, file, archive.DefaultLimits())
	if err = errors.Join(err, file.Close()); err != nil {
		return underTest{}, cli.Usage(err.Error(), "")
	}
	return d.unpack(ctx, packed)
}

// unpack unpacks an archive and reads its declaration.
func (d *drivers) unpack(ctx context.Context, path string) (underTest, error) {
	file, err := os.Open(path)
	if err != nil {
		return underTest{}, cli.Usage(err.Error(), "")
	}
	defer func() { _ = file.Close() }() // it was only read
	unpacked, err := d.store.Unpack(ctx, file, "")
	if err != nil {
		return underTest{}, cli.Usage(filepath.Base(path)+": "+err.Error(), "")
	}
	made := underTest{}
	made.manifest, err = unpacked.Declaration.Manifest(runtime.GOOS+"/"+runtime.GOARCH, d.store.Dir(unpacked.Digest))
	if err == nil {
		made.declared, err = unpacked.Declaration.Describe()
	}
	if err != nil {
		return underTest{}, cli.Usage(err.Error(), "")
	}
	return made, nil
}

// readSettings reads the settings file, if there is one, and what --set adds.
func (t *driverTest) readSettings() (settings.Settings, error) {
	all := map[string]any{}
	if t.settings != "" {
		text, err := os.ReadFile(t.settings)
		if err != nil {
			return settings.Settings{}, cli.Usage("--settings: "+err.Error(), "")
		}
		if err := yaml.Unmarshal(text, &all); err != nil {
			return settings.Settings{}, cli.Usage("--settings: "+err.Error(), "")
		}
	}
	for _, one := range t.set {
		key, text, found := strings.Cut(one, "=")
		if !found || key == "" {
			return settings.Settings{}, cli.Usage("--set: must be field=value, not "+one, "as storage.pool.path=/mnt/pool")
		}
		if err := put(all, strings.Split(key, "."), text); err != nil {
			return settings.Settings{}, cli.Usage("--set "+key+": "+err.Error(), "")
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return settings.Settings{}, cli.Usage("--settings: "+err.Error(), "keys of maps must be text")
	}
	given, err := settings.Parse(text)
	if err != nil {
		return settings.Settings{}, cli.Usage(err.Error(), "")
	}
	return given, nil
}

// put sets a value deep in a map. The value is read as YAML, so that numbers are numbers.
func put(into map[string]any, path []string, text string) error {
	for _, key := range path[:len(path)-1] {
		next, ok := into[key].(map[string]any)
		if !ok {
			if into[key] != nil {
				return fmt.Errorf("%s holds no fields", key)
			}
			next = map[string]any{}
			into[key] = next
		}
		into = next
	}
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return fmt.Errorf("reading the value: %w", err)
	}
	into[path[len(path)-1]] = value
	return nil
}
