package scaffold

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

//go:embed all:templates
var templates embed.FS

// Languages that drivers can be begun in.
const (
	Go     = "go"
	Python = "python"
	// Script is a program that is run once per call; the beginning is in Python without libraries.
	Script = "script"
)

// Options of a new driver.
type Options struct {
	// Name is vendor/name.
	Name string
	// Category is storage, network, image, hypervisor or out-of-band.
	Category string
	// Language is Go, Python or Script.
	Language string
	// Dir to make; it must not be there, or be empty.
	Dir string
	// Module is the path of a Go driver's module; empty = example.com/vendor/name.
	Module string
	// Checkout is a directory with the source of Bulkhead, to build against; empty = the published one.
	Checkout string
	// Version of this program, which the driver is begun for ("0.4.0").
	Version string
}

// OptionError is an option that can't be. Option is the name of its flag, or "name".
type OptionError struct {
	Option, Message string
}

// Error implements error.
func (e *OptionError) Error() string { return e.Option + ": " + e.Message }

var (
	nameSyntax   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31}$`)
	moduleSyntax = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._~/-]{0,199}$`)
)

func (o *Options) check() error {
	switch {
	case !nameSyntax.MatchString(o.Name):
		return &OptionError{"name", "want vendor/name in lower case, digits and dashes"}
	case !slices.Contains(Categories(), o.Category):
		return &OptionError{"category", "want one of " + strings.Join(Categories(), ", ")}
	case o.Language != Go && o.Language != Python && o.Language != Script:
		return &OptionError{"language", "want go, python or script"}
	case o.Module != "" && !moduleSyntax.MatchString(o.Module):
		return &OptionError{"module", "want the path of a Go module, such as example.com/my/driver"}
	case o.Language == Go:
		return o.checkSource()
	}
	return nil
}

// checkSource checks what a driver in Go is built against.
func (o *Options) checkSource() error {
	switch {
	case o.Checkout == "" && strings.HasSuffix(o.Version, "-dev"):
		return &OptionError{"replace", "this program is no release that a module could name; " +
			"give the directory of its source with --replace"}
	case o.Checkout != "" && !isFile(filepath.Join(o.Checkout, "go.mod")):
		return &OptionError{"replace", o.Checkout + " has no go.mod; want the directory with the source of Bulkhead"}
	}
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Write makes the directory of a new driver and returns the names of its files, sorted.
func Write(o Options) ([]string, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Checkout != "" {
		checkout, err := filepath.Abs(o.Checkout)
		if err != nil {
			return nil, fmt.Errorf("finding %s: %w", o.Checkout, err)
		}
		o.Checkout = checkout
	}
	files, err := o.files()
	if err != nil {
		return nil, err
	}
	if err := emptyDir(o.Dir); err != nil {
		return nil, err
	}
	var names []string
	for name, text := range files {
		path := filepath.Join(o.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("writing the driver: %w", err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // it is source, for all to read
			return nil, fmt.Errorf("writing the driver: %w", err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// emptyDir makes a directory, or takes one that holds nothing.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return &OptionError{"dir", err.Error() + "; name one that can be made"}
	}
	if len(entries) > 0 {
		return &OptionError{"dir", dir + " is there and not empty; name another one"}
	}
	return nil
}

// files makes the content of all files.
func (o *Options) files() (map[string][]byte, error) {
	words := strings.NewReplacer(o.words()...)
	files := map[string][]byte{}
	sets := []string{"all", o.Language}
	if o.Category == storage {
		sets = append(sets, o.Language+"-"+storage) // its files win
	}
	for _, set := range sets {
		root := "templates/" + set
		err := fs.WalkDir(templates, root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := templates.ReadFile(path)
			files[outName(strings.TrimPrefix(path, root+"/"))] = []byte(words.Replace(string(text)))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading templates: %w", err)
		}
	}
	declaration, err := archive.Parse(files[archive.DeclarationFile])
	if err != nil {
		return nil, fmt.Errorf("checking the new driver.yaml: %w", err)
	}
	files["resources/messages/en.json"] = []byte(shapes()[o.Category].messages)
	if o.Language == Python {
		if files["code/declaration.json"], err = declaration.Answers(); err == nil {
			files["code/contract.binpb"], err = contract()
		}
	}
	return files, err
}

// outName is the name of a file whose template may not have it: it would belong to the tools of this repository.
func outName(template string) string {
	name := strings.TrimSuffix(template, ".tmpl")
	if name == "gitignore" || strings.HasPrefix(name, "github/") {
		return "." + name
	}
	return name
}

// words are what templates have blanks for.
func (o *Options) words() []string {
	vendor, product, _ := strings.Cut(o.Name, "/")
	module := o.Module
	if module == "" {
		module = "example.com/" + o.Name
	}
	sdk, replace, tool := "v"+o.Version, "", "v"+o.Version
	if strings.HasSuffix(o.Version, "-dev") {
		tool = "latest" // what comes after this is not published yet
	}
	if o.Checkout != "" {
		sdk = "v0.0.0"
		replace = "\nreplace github.com/bulkhead-cloud/bulkhead => " + o.Checkout + "\n"
	}
	s := shapes()[o.Category]
	group := ""
	if s.dataGroup {
		group = "# It is in the group that owns pools, images and guests' files.\ndataGroup: true\n"
	}
	return []string{
		"@NAME@", o.Name, "@VENDOR@", vendor, "@PRODUCT@", product, "@CATEGORY@", o.Category, "@MODULE@", module,
		"@SDK@", sdk, "@TOOL@", tool, "@REPLACE@", replace, "@SUMMARY@", s.summary, "@ENTRY@", o.entry(), "@GROUP@", group,
		"@PROPERTIES@", s.properties, "@CAPABILITIES@", s.capabilities, "@FIELD@", s.field, "@METHODS@", methods(s.field),
	}
}

// entry says in driver.yaml how the driver is started.
func (o *Options) entry() string {
	const python = "# How it is started: on any platform, by the Python of the host.\nentry:\n" +
		"  any: {interpreter: [/usr/bin/python3, -I, -S, -B], command: code/driver.py}\n"
	switch o.Language {
	case Python:
		return python
	case Script:
		return python + o.script()
	default:
		return "# How it is started, per platform.\nentry:\n" +
			"  linux/amd64: {command: code/linux-amd64/driver}\n  linux/arm64: {command: code/linux-arm64/driver}\n"
	}
}

// script says in driver.yaml that the entry is run once per call, and for what.
func (o *Options) script() string {
	actions, exits := "probe", ""
	if o.Category == storage {
		actions = "probe, adopt, observe, open-pool, stat-pool, close-pool, create-volume, stat-volume,\n    grow-volume, " +
			"delete-volume, attach-volume, detach-volume"
		exits = "  exits: [{code: 10, class: unsupported}, {code: 11, class: denied}, {code: 12, class: exhausted}]\n"
	}
	return "\n# It is run once per call, for these actions; docs/vendors/scripts.md has them all.\nscript:\n" +
		"  protocol: json\n  actions: [" + actions + "]\n" + exits
}
