package archive

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
)

const messagesDir = "resources/messages"

// holds tells whether a file says what the archive is, and so is kept in memory while it is read.
func holds(name string) bool {
	return name == DeclarationFile || path.Dir(name) == messagesDir
}

// finish checks the archive as a whole once all of it was read.
func (r *reader) finish() (*Archive, error) {
	sortFiles(r.files)
	archive := &Archive{Files: r.files, Messages: map[string]map[string]string{}}
	text, ok := r.held[DeclarationFile]
	if !ok {
		return nil, invalid([]Problem{{
			File: DeclarationFile, Message: "it is missing", Remedy: "bulkhead driver new makes an example",
		}})
	}
	declaration, err := Parse(text)
	if err != nil {
		return nil, err
	}
	archive.Declaration = declaration
	problems := archive.checkFiles()
	for _, name := range slices.Sorted(maps.Keys(r.held)) {
		if name != DeclarationFile {
			problems = append(problems, archive.readMessages(name, r.held[name])...)
		}
	}
	if err := invalid(problems); err != nil {
		return nil, err
	}
	return archive, nil
}

// file finds a file by its name.
func (a *Archive) file(name string) (File, bool) {
	at, found := slices.BinarySearchFunc(a.Files, name, func(f File, name string) int {
		return strings.Compare(f.Path, name)
	})
	if !found {
		return File{}, false
	}
	return a.Files[at], true
}

// checkFiles checks that what the declaration names is there.
func (a *Archive) checkFiles() []Problem {
	c := fileChecker{archive: a}
	if license, ok := a.file(LicenseFile); !ok || license.Bytes == 0 {
		c.add(LicenseFile, "", "it is missing or empty", "put the text of the licence there")
	}
	d := a.Declaration
	for _, platform := range slices.Sorted(maps.Keys(d.Entry)) {
		c.entry(platform, d.Entry[platform])
	}
	for i, name := range d.Permissions.Exec {
		if !path.IsAbs(name) {
			c.named(fmt.Sprintf("permissions.exec[%d]", i), name, true)
		}
	}
	for i, launched := range d.Permissions.Launch {
		if !path.IsAbs(launched.Path) {
			c.named(fmt.Sprintf("permissions.launch[%d].path", i), launched.Path, true)
		}
	}
	if d.Changelog == ChangelogFile {
		c.named("changelog", ChangelogFile, false)
	}
	return c.problems
}

// fileChecker collects what is wrong with the files of an archive.
type fileChecker struct {
	archive  *Archive
	problems []Problem
}

func (c *fileChecker) add(file, at, message, remedy string) {
	c.problems = append(c.problems, Problem{File: file, Path: at, Message: message, Remedy: remedy})
}

// named checks a file that a field of the declaration names.
func (c *fileChecker) named(at, name string, executable bool) {
	switch file, ok := c.archive.file(name); {
	case !ok:
		c.add(DeclarationFile, at, "the archive has no file "+name, "add it, or correct the path")
	case executable && !file.Executable:
		c.add(DeclarationFile, at, name+" is not executable", "chmod +x it, or name an interpreter")
	}
}

func (c *fileChecker) entry(platform string, entry Entry) {
	at := "entry." + platform + ".command"
	c.named(at, entry.Command, len(entry.Interpreter) == 0)
	file, _ := c.archive.file(entry.Command)
	if file.Platform != "" && file.Platform != platform {
		c.add(DeclarationFile, at, entry.Command+" is a program for "+file.Platform,
			"declare it for that platform, or build it for this one")
	}
}

// readMessages reads one message file: an object of texts by key.
func (a *Archive) readMessages(name string, text []byte) []Problem {
	texts, err := property.ParseMessages(text)
	if err != nil {
		return []Problem{{File: name, Message: err.Error(), Remedy: `want {"pool.path.label": "Path", ...}`}}
	}
	language, isJSON := strings.CutSuffix(path.Base(name), ".json")
	if _, err := property.NewMessages(map[string]map[string]string{language: texts}); err != nil || !isJSON {
		return []Problem{{
			File: name, Message: "it is not named after a language", Remedy: "want en.json, de.json, pt-BR.json",
		}}
	}
	a.Messages[language] = texts
	return nil
}
