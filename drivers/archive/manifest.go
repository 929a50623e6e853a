package archive

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

const anyPlatform = "any"

// EntryFor finds how the driver is started on a platform ("linux/amd64").
func (d *Declaration) EntryFor(platform string) (Entry, error) {
	entry, ok := d.Entry[platform]
	if !ok {
		entry, ok = d.Entry[anyPlatform]
	}
	if !ok {
		return Entry{}, fmt.Errorf("%s %s does not run on %s, only on %s; ask its vendor for an archive that does",
			d.Name, d.Version, platform, strings.Join(slices.Sorted(maps.Keys(d.Entry)), ", "))
	}
	return entry, nil
}

// CategoriesOf converts the names of categories.
func (d *Declaration) categories() []driverpb.Category {
	categories := make([]driverpb.Category, len(d.Categories))
	for i, name := range d.Categories {
		name = "CATEGORY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		categories[i] = driverpb.Category(driverpb.Category_value[name])
	}
	return categories
}

// Manifest is what a host needs to start the driver on a platform ("linux/amd64") from the directory that its archive
// was unpacked to.
func (d *Declaration) Manifest(platform, dir string) (host.Manifest, error) {
	entry, err := d.EntryFor(platform)
	if err != nil {
		return host.Manifest{}, err
	}
	command, permissions, err := d.started(entry, dir)
	if err != nil {
		return host.Manifest{}, err
	}
	manifest := host.Manifest{
		Name: d.Name, Version: d.Version, Categories: d.categories(), Code: dir,
		Command: command, Permissions: permissions,
		DataGroup: d.DataGroup,
		Isolation: sandbox.Level(d.Isolation.Minimum), Require: slices.Clone(d.Isolation.Require),
		Limits: host.Limits{
			MemoryBytes: uint64(d.Limits.Memory), OpenFiles: d.Limits.OpenFiles, Processes: d.Limits.Processes,
			FileBytes: uint64(d.Limits.File), Concurrency: d.Concurrency,
		},
		Timeouts: host.Timeouts{
			Start: time.Duration(d.Timeouts.Start), Call: time.Duration(d.Timeouts.Call),
			Shutdown: time.Duration(d.Timeouts.Shutdown),
		},
		OrphanTTL: time.Duration(d.Timeouts.Orphan),
	}
	if err := manifest.Validate(); err != nil {
		return host.Manifest{}, fmt.Errorf("making the manifest of %s %s: %w", d.Name, d.Version, err)
	}
	return manifest, nil
}

// started is the command line of the driver's process, and what it may do. A script is run by this program, whichever
// that is: a server, an agent, a tool of vendors.
func (d *Declaration) started(entry Entry, dir string) ([]string, host.Permissions, error) {
	command := slices.Concat(entry.Interpreter, []string{inside(dir, entry.Command)}, entry.Arguments)
	permissions := d.Permissions.convert(dir)
	if d.Script.Protocol == "" {
		return command, permissions, nil
	}
	runner, err := os.Executable()
	if err != nil {
		return nil, permissions, fmt.Errorf("finding the program that runs %s: %w", d.Name, err)
	}
	permissions.Exec = append(permissions.Exec, command[0])
	// The last process id of the machine is in it: what a script left behind has one above its own.
	permissions.Read = append(permissions.Read, "/proc/loadavg")
	return slices.Concat([]string{runner}, ScriptRunner(), []string{dir}), permissions, nil
}

// inside makes a path in the archive one on the host; an absolute one stays.
func inside(dir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, filepath.FromSlash(name))
}

func (p *Permissions) convert(dir string) host.Permissions {
	converted := host.Permissions{
		Read: slices.Clone(p.Read), Write: slices.Clone(p.Write), Devices: slices.Clone(p.Devices),
		UnixSockets: p.UnixSockets, TCPConnect: slices.Clone(p.TCPConnect), TCPListen: slices.Clone(p.TCPListen),
		UDP: p.UDP, HostNetwork: p.HostNetwork, Capabilities: slices.Clone(p.Capabilities),
	}
	for _, program := range p.Exec {
		converted.Exec = append(converted.Exec, inside(dir, program))
	}
	for _, program := range p.Launch {
		launched := host.Program{
			Path: inside(dir, program.Path), Capabilities: slices.Clone(program.Capabilities),
			Devices: slices.Clone(program.Devices), Read: slices.Clone(program.Read),
			Exec: slices.Clone(program.Exec), Network: program.Network,
		}
		if !path.IsAbs(program.Path) { // it came with the archive, and so does what it needs
			launched.Read = append(launched.Read, dir)
		}
		converted.Launch = append(converted.Launch, launched)
	}
	return converted
}
