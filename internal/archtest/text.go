package archtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// unwanted is text that must not be in a file of the project: unfinished work, and what belongs to the machine that a
// file was written on.
var unwanted = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`), "unfinished: do it, or open an issue"},
	{regexp.MustCompile(`(?:^|[\s"'=(])/(home|Users)/[a-z0-9_.-]+/`), "somebody's home folder"},
	{regexp.MustCompile(`(?m)^(<{7}|>{7}) `), "a conflict that was not resolved"},
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`), "a private key"},
}

// textual are the names of files that CheckText reads.
var textual = []string{
	".go", ".md", ".sh", ".proto", ".yml", ".yaml", ".json", ".txt", ".html", ".mod", "Makefile", "run", ".gitignore",
}

// CheckText returns what in the text files below fsys must not be there. Test data is left out.
func CheckText(fsys fs.FS) ([]string, error) {
	var complaints []string
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			hidden := strings.HasPrefix(entry.Name(), ".") && name != "." && name != ".ci"
			if hidden || entry.Name() == "testdata" || entry.Name() == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.ContainsFunc(textual, func(end string) bool { return strings.HasSuffix(path.Base(name), end) }) {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		for _, u := range unwanted {
			if at := u.pattern.FindIndex(text); at != nil {
				line := 1 + bytes.Count(text[:at[0]], []byte("\n"))
				complaints = append(complaints, fmt.Sprintf("%s:%d: %s", name, line, u.why))
			}
		}
		return nil
	})
	return complaints, err
}
