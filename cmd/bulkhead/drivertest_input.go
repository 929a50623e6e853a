package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/settings"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// manifestName is the file in a driver's directory that declares it.
const manifestName = "manifest.json"

// findDriver finds the manifest of a driver: a directory, a program with a manifest, or one that ships with us.
func findDriver(name, manifest string, arguments []string) (host.Manifest, error) {
	for _, b := range node.BuiltIns() {
		executable, err := os.Executable()
		if err != nil {
			return host.Manifest{}, fmt.Errorf("finding this program: %w", err)
		}
		if built := b.Manifest(executable); built.Name == name {
			return built, nil
		}
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return host.Manifest{}, fmt.Errorf("finding %s: %w", name, err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return host.Manifest{}, cli.Usage(name+" is neither there nor a built-in driver",
			"name a directory with a "+manifestName+", a program, or one as bulkhead/filestorage")
	case err != nil:
		return host.Manifest{}, cli.Usage(err.Error(), "")
	case info.IsDir():
		return readManifest(filepath.Join(path, manifestName), nil)
	case manifest == "":
		return host.Manifest{}, cli.Usage(name+" is a program: what may it do?", "name its manifest with --manifest")
	}
	return readManifest(manifest, append([]string{path}, arguments...))
}

// readManifest reads a manifest. Its command is from its own directory unless it is given; categories are words.
func readManifest(path string, command []string) (host.Manifest, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return host.Manifest{}, cli.Usage(err.Error(), "a driver's directory holds a "+manifestName)
	}
	var file struct {
		host.Manifest
		Categories []string `json:"categories"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return host.Manifest{}, cli.Usage(path+": "+err.Error(), "")
	}
	made := file.Manifest
	for _, word := range file.Categories {
		category, err := categoryOf(word)
		if err != nil {
			return host.Manifest{}, cli.Usage(path+": categories: "+err.Error(), "")
		}
		made.Categories = append(made.Categories, category)
	}
	switch {
	case len(command) > 0:
		made.Command = command
	case len(made.Command) > 0 && !filepath.IsAbs(made.Command[0]):
		made.Command[0] = filepath.Join(filepath.Dir(path), made.Command[0])
	}
	if err := made.Validate(); err != nil {
		return host.Manifest{}, cli.Usage(path+": "+err.Error(), "")
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
