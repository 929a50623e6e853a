package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// asVersion is what this program is started for as a version of a driver: the driver's name and the version follow, and
// what is wrong with it.
const asVersion = "driver-version"

// isVersion reports whether arguments are those of a version of a driver.
func isVersion(args []string) bool { return len(args) == 5 && args[1] == asVersion }

// beVersion is a driver that ships with the product, under another version, with a flaw.
func beVersion(builtIns []node.BuiltIn, name, version string, flaw Flaw) (exitCode int) {
	for _, b := range builtIns {
		if b.Name != name {
			continue
		}
		return sdk.Main(func(env sdk.Environment) (sdk.Driver, error) {
			d, err := b.New(env)
			d.Version = version
			return flaw.in(d), err
		})
	}
	return 2
}

// Simulator makes an archive of the simulator as another version. What runs from it is this program.
func Simulator(ctx context.Context, version string) (car []byte, err error) {
	return Version(ctx, "sim", version, Flawless)
}

// Version makes an archive of a driver that ships with the product, named as there, as another version of it, with a
// flaw. What runs from it is this program.
func Version(ctx context.Context, name, version string, flaw Flaw) (car []byte, err error) {
	all := node.BuiltIns()
	i := slices.IndexFunc(all, func(b node.BuiltIn) bool { return b.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("making an archive: no driver %q ships with the product", name)
	}
	declared, err := declare(all[i].Manifest("/"), version, []string{asVersion, name, version, string(flaw)})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/var/tmp", "bulkhead-archive-")
	if err != nil {
		return nil, fmt.Errorf("making an archive: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Mkdir(filepath.Join(dir, "code"), 0o755); err != nil {
		return nil, fmt.Errorf("making an archive: %w", err)
	}
	if err := copyProgram(filepath.Join(dir, "code", "driver")); err != nil {
		return nil, err
	}
	for file, text := range map[string][]byte{
		archive.DeclarationFile: declared, archive.LicenseFile: []byte("Apache-2.0\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			return nil, fmt.Errorf("making an archive: %w", err)
		}
	}
	var packed bytes.Buffer
	if _, err := archive.Pack(ctx, dir, &packed, archive.DefaultLimits()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// handleFormat is that of the handles of all drivers that ship with the product.
const handleFormat = 1

// declare writes what an archive says of a version: what the product says of the driver that ships with it.
func declare(m host.Manifest, version string, arguments []string) ([]byte, error) {
	var categories []string
	for _, c := range m.Categories {
		name := strings.ToLower(strings.TrimPrefix(c.String(), "CATEGORY_"))
		categories = append(categories, strings.ReplaceAll(name, "_", "-"))
	}
	limits := map[string]any{}
	if m.Limits.MemoryBytes > 0 {
		limits["memory"] = fmt.Sprintf("%dMiB", m.Limits.MemoryBytes>>20)
	}
	entry := map[string]any{"command": "code/driver", "arguments": arguments}
	said := map[string]any{
		"apiVersion": archive.APIVersion, "kind": archive.KindDriver, "name": m.Name, "version": version,
		"description": "A driver that ships with Bulkhead, under another version.", "categories": categories,
		"license": "Apache-2.0", "author": "Bulkhead <bench@example.com>", "contract": map[string]any{"min": 1, "max": 1},
		"entry":       map[string]any{"linux/" + runtime.GOARCH: entry},
		"permissions": permitted(m.Permissions), "dataGroup": m.DataGroup, "limits": limits,
		"handles": map[string]any{"reads": []int{handleFormat}, "writes": handleFormat},
	}
	if m.Limits.Concurrency > 0 {
		said["concurrency"] = m.Limits.Concurrency
	}
	text, err := json.Marshal(said) // which is YAML as well
	if err != nil {
		return nil, fmt.Errorf("writing what the archive says: %w", err)
	}
	return text, nil
}

// permitted lists what a driver may do that ships with the product: what is left out, none of them may.
func permitted(p host.Permissions) map[string]any {
	said := map[string]any{"unixSockets": p.UnixSockets}
	for key, list := range map[string][]string{
		"read": p.Read, "write": p.Write, "exec": p.Exec, "devices": p.Devices, "capabilities": p.Capabilities,
	} {
		if len(list) > 0 {
			said[key] = list
		}
	}
	var programs []map[string]any
	for _, program := range p.Launch {
		one := map[string]any{"path": program.Path}
		for key, list := range map[string][]string{
			"read": program.Read, "exec": program.Exec, "devices": program.Devices, "capabilities": program.Capabilities,
		} {
			if len(list) > 0 {
				one[key] = list
			}
		}
		programs = append(programs, one)
	}
	if len(programs) > 0 {
		said["launch"] = programs
	}
	return said
}

func copyProgram(to string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("copying this program: %w", err)
	}
	defer from.Close() // only read
	into, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return fmt.Errorf("copying this program: %w", err)
	}
	if _, err := io.Copy(into, from); err != nil {
		into.Close() // the error before counts
		return fmt.Errorf("copying this program: %w", err)
	}
	if err := into.Close(); err != nil {
		return fmt.Errorf("copying this program: %w", err)
	}
	return nil
}
