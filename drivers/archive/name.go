package archive

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// cleanPath tells whether a path has no empty parts, none that are . or .., and no control characters.
func cleanPath(name string) bool {
	return name == "/" || (path.Clean(name) == name && name != "." && name != ".." && !strings.HasPrefix(name, "../") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }))
}

// topLevel is all that may be at the top of an archive; true = a directory.
func topLevel() map[string]bool {
	return map[string]bool{
		DeclarationFile: false, LicenseFile: false, ChangelogFile: false, "NOTICE": false, "README.md": false,
		"code": true, "lib": true, "resources": true,
	}
}

// names sees to it that the names in an archive are harmless on every file system and that no two of them meet.
type names struct {
	limits Limits
	// seen holds files (true) and directories (false) by their name in lower case.
	seen map[string]seenName
}

type seenName struct {
	name string
	file bool
	// explicit: the archive has an entry of its own for it.
	explicit bool
}

func newNames(limits Limits) *names { return &names{limits: limits, seen: map[string]seenName{}} }

// add checks a name and remembers it.
func (n *names) add(name string, file bool) error {
	if err := n.check(name); err != nil {
		return err
	}
	if directory, known := topLevel()[firstPart(name)]; !known || directory == (file && firstPart(name) == name) {
		return fmt.Errorf("%s does not belong there: an archive has %s", name, strings.Join(allowedTop(), ", "))
	}
	for at, r := range name {
		if r == '/' {
			if err := n.remember(name[:at], false, false); err != nil {
				return err
			}
		}
	}
	return n.remember(name, file, true)
}

func firstPart(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

func allowedTop() []string {
	var allowed []string
	for name, directory := range topLevel() {
		if directory {
			name += "/"
		}
		allowed = append(allowed, name)
	}
	slices.Sort(allowed)
	return allowed
}

func (n *names) remember(name string, file, explicit bool) error {
	key := strings.ToLower(name)
	before, known := n.seen[key]
	switch {
	case !known:
		if len(n.seen) >= n.limits.Files {
			return fmt.Errorf("it holds more than %d files and directories", n.limits.Files)
		}
		n.seen[key] = seenName{name: name, file: file, explicit: explicit}
		return nil
	case before.name != name:
		return fmt.Errorf("%s and %s differ only in case; rename one of them", before.name, name)
	case before.file != file:
		return fmt.Errorf("%s is a file and a directory", name)
	case before.explicit && explicit:
		return fmt.Errorf("%s is in it twice", name)
	}
	before.explicit = before.explicit || explicit
	n.seen[key] = before
	return nil
}

// droppedEnds are dots and spaces at the end of a part of a name.
var droppedEnds = regexp.MustCompile(`[. ](/|$)`)

// check takes only what means the same everywhere: printable ASCII without the characters that some system treats
// specially. That leaves no two ways to write one name in Unicode.
func (n *names) check(name string) error {
	switch {
	case name == "" || strings.HasPrefix(name, "/") || !cleanPath(name):
		return fmt.Errorf("the name %q is not a plain relative path", name)
	case len(name) > n.limits.PathBytes:
		return fmt.Errorf("the name %.40q... has %d bytes, more than %d", name, len(name), n.limits.PathBytes)
	case strings.Count(name, "/") >= n.limits.Depth:
		return fmt.Errorf("%.40s... is more than %d directories deep", name, n.limits.Depth)
	}
	strange := func(r rune) bool { return r > '~' || strings.ContainsRune(`\:*?"<>|`, r) }
	if at := strings.IndexFunc(name, strange); at >= 0 {
		return fmt.Errorf("the name %q holds %.1q; use letters, digits and . _ - + @ = , only", name, name[at:])
	}
	if droppedEnds.MatchString(name) {
		return fmt.Errorf("the name %q has a part that ends with what some systems drop; rename it", name)
	}
	return nil
}
