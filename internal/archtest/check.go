package archtest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Check returns what in files is against the rules, one sentence for each, sorted and without repetition.
func (r Rules) Check(files []File) []string {
	found := map[string]bool{}
	for _, f := range files {
		for _, complaint := range slices.Concat(
			r.checkImports(f), r.checkNames(f), r.checkGenerated(f), r.checkFile(f),
		) {
			found[complaint] = true
		}
	}
	for _, complaint := range checkDocs(files) {
		found[complaint] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// Unused returns the outside libraries in the tables that no file imports.
func (r Rules) Unused(files []File) []string {
	used := map[string]bool{}
	for _, f := range files {
		for _, imported := range f.Imports {
			if library, ok := r.library(imported); ok {
				used[library] = true
			}
		}
	}
	var unused []string
	for _, library := range slices.Concat(slices.Collect(maps.Keys(r.Owner)), r.TestLibraries) {
		if !used[library] {
			unused = append(unused, library)
		}
	}
	slices.Sort(unused)
	return unused
}

// matches reports whether pattern covers folder.
func matches(pattern, folder string) bool {
	prefix, below := strings.CutSuffix(pattern, "...")
	if !below {
		return pattern == folder
	}
	prefix = strings.TrimSuffix(prefix, "/")
	return prefix == "" || folder == prefix || strings.HasPrefix(folder, prefix+"/")
}

func anyMatches(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, folder) })
}

// testing reports whether f is a test file or belongs to a kit.
func (r Rules) testing(f File) bool { return f.Test || anyMatches(r.Kits, f.Folder()) }

func (r Rules) checkImports(f File) []string {
	var complaints []string
	for _, imported := range f.Imports {
		inside, ok := strings.CutPrefix(imported, r.Module+"/")
		switch {
		case f.Test && slices.Contains(r.TestsMayImport[f.Folder()], inside):
		case ok:
			complaints = append(complaints, r.checkInside(f, inside)...)
		case strings.Contains(strings.Split(imported, "/")[0], "."):
			complaints = append(complaints, r.checkOutside(f, imported)...)
		}
	}
	return complaints
}

// checkInside checks an import of a folder of the repository.
func (r Rules) checkInside(f File, to string) []string {
	from := f.Folder()
	if from == to { // an external test of the package
		return nil
	}
	key, ok := r.keyOf(from)
	if !ok {
		return []string{from + ": not in the table MayImport; decide where it stands"}
	}
	if stranger := r.strangers(from, to); stranger != "" {
		return []string{fmt.Sprintf("%s imports %s: the folders of %s do not know each other", from, to, stranger)}
	}
	kit := anyMatches(r.Kits, to)
	switch {
	case kit && r.testing(f):
		return nil
	case kit && !matches("cmd/...", from) && !matches("bench/...", from) && !matches("internal/node/...", from):
		return []string{fmt.Sprintf("%s imports %s: a kit is for tests", f.Path, to)}
	case matches(key, to), anyMatches(r.MayImport[key], to):
		return nil
	default:
		return []string{fmt.Sprintf("%s imports %s: it may import only %s", f.Path, to, list(r.MayImport[key]))}
	}
}

func list(patterns []string) string {
	if len(patterns) == 0 {
		return "its own folder"
	}
	return strings.Join(patterns, ", ")
}

// keyOf returns the longest key of MayImport that covers folder.
func (r Rules) keyOf(folder string) (key string, ok bool) {
	for pattern := range r.MayImport {
		if matches(pattern, folder) && (!ok || len(pattern) > len(key)) {
			key, ok = pattern, true
		}
	}
	return key, ok
}

// strangers returns the folder whose subfolders hold from and to, if those must not know each other.
func (r Rules) strangers(from, to string) string {
	for _, parent := range r.Strangers {
		a, aInside := strings.CutPrefix(from, parent+"/")
		b, bInside := strings.CutPrefix(to, parent+"/")
		if aInside && bInside && strings.Split(a, "/")[0] != strings.Split(b, "/")[0] && !anyMatches(r.Kits, to) {
			return parent
		}
	}
	return ""
}

// library returns the entry of the tables that an outside import belongs to.
func (r Rules) library(imported string) (library string, ok bool) {
	for _, candidate := range slices.Concat(slices.Collect(maps.Keys(r.Owner)), r.TestLibraries) {
		if matches(candidate+"/...", imported) && len(candidate) > len(library) {
			library, ok = candidate, true
		}
	}
	return library, ok
}

func (r Rules) checkOutside(f File, imported string) []string {
	library, ok := r.library(imported)
	switch {
	case !ok:
		return []string{fmt.Sprintf(
			"%s imports %s: decide which folder owns it (rules.go) and say why (docs/dependencies.md)", f.Path, imported)}
	case slices.Contains(r.TestLibraries, library):
		if !r.testing(f) {
			return []string{fmt.Sprintf("%s imports %s: it is for tests", f.Path, imported)}
		}
	case !anyMatches(r.Owner[library], f.Folder()):
		return []string{fmt.Sprintf("%s imports %s: only %s may", f.Path, imported, strings.Join(r.Owner[library], ", "))}
	}
	return nil
}

func (r Rules) checkNames(f File) []string {
	if f.Generated {
		return nil
	}
	var complaints []string
	for _, name := range append(strings.Split(f.Folder(), "/"), strings.TrimSuffix(f.Package, "_test")) {
		if slices.Contains(r.BannedNames, name) {
			complaints = append(complaints, fmt.Sprintf("%s: %q says nothing about what a package is", f.Folder(), name))
		}
	}
	for _, name := range f.Types {
		for _, word := range r.BannedWords {
			if strings.HasSuffix(name, word) {
				complaints = append(complaints, fmt.Sprintf("%s: type %s: %q says nothing", f.Path, name, word))
			}
		}
	}
	return complaints
}

func (r Rules) checkGenerated(f File) []string {
	here := anyMatches(r.Generated, f.Folder())
	switch {
	case f.Generated && !here:
		return []string{f.Path + ": generated code outside " + strings.Join(r.Generated, ", ")}
	case !f.Generated && here && path.Base(f.Path) != "doc.go" && !f.Test:
		return []string{f.Path + ": written by hand in a folder of generated code"}
	default:
		return nil
	}
}

func (r Rules) checkFile(f File) []string {
	var complaints []string
	if f.Init && !anyMatches(r.MayInit, f.Folder()) {
		complaints = append(complaints, f.Path+": init function; wire things in a list that can be read")
	}
	if f.Skips {
		complaints = append(complaints, f.Path+": skips a test; make it fail and say what to install")
	}
	return complaints
}

// checkDocs demands that each package says what it is: in doc.go, or anywhere in a command.
func checkDocs(files []File) []string {
	type state struct{ name, doc, where string }
	packages := map[string]*state{}
	for _, f := range files {
		if f.Test {
			continue
		}
		p := packages[f.Folder()]
		if p == nil {
			p = &state{}
			packages[f.Folder()] = p
		}
		p.name = f.Package
		if f.Doc != "" && !f.Generated {
			p.doc, p.where = f.Doc, path.Base(f.Path)
		}
	}
	var complaints []string
	for folder, p := range packages {
		begin := "Package " + p.name + " "
		if p.name == "main" {
			begin = "Command "
		}
		if !strings.HasPrefix(p.doc, begin) || p.name != "main" && p.where != "doc.go" {
			complaints = append(complaints, fmt.Sprintf("%s: wants a comment in doc.go that begins %q", folder, begin))
		}
	}
	return complaints
}
