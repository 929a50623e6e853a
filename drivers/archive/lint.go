package archive

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
)

// Lint says what is right and could be better: what operators will ask, what they will not be able to read, and what
// a driver asks for that costs it their trust. Nothing of it keeps the archive from being installed.
func (a *Archive) Lint() []Problem {
	l := linter{archive: a}
	l.messages()
	l.permissions()
	d := a.Declaration
	if _, ok := a.file(ChangelogFile); !ok && d.Changelog == "" {
		l.advise("changelog", "nobody can see what changed", "add CHANGELOG.md, and changelog: CHANGELOG.md")
	}
	if d.Homepage == "" {
		l.advise("homepage", "there is no place to ask", "add the address of your documentation or support")
	}
	if d.Requires.Server == "" {
		l.advise("requires.server", "it claims to run under every version", `add a range that you test, such as ">=0.4 <2"`)
	}
	if d.Isolation.Minimum == "" || d.Isolation.Minimum == "none" {
		l.advise("isolation.minimum", "it would run unconfined", "want good, or strong")
	}
	return l.problems
}

type linter struct {
	archive  *Archive
	problems []Problem
}

func (l *linter) advise(at, message, remedy string) {
	l.problems = append(l.problems, Problem{File: DeclarationFile, Path: at, Message: message, Remedy: remedy})
}

// messages checks that all languages have a text for all keys, and for no others.
func (l *linter) messages() {
	used := map[string]bool{}
	for i, property := range l.archive.Declaration.Properties {
		for field, key := range map[string]string{
			"labelKey": property.LabelKey, "descriptionKey": property.DescriptionKey,
		} {
			if key == "" {
				continue
			}
			used[key] = true
			if len(l.archive.Messages) == 0 {
				l.advise("properties["+strconv.Itoa(i)+"]."+field, "there are no message files for "+key,
					"add "+messagesDir+"/<language>.json, or leave the key out")
			}
		}
	}
	for _, language := range slices.Sorted(maps.Keys(l.archive.Messages)) {
		file := path.Join(messagesDir, language+".json")
		add := func(message, remedy string) {
			l.problems = append(l.problems, Problem{File: file, Message: message, Remedy: remedy})
		}
		texts := l.archive.Messages[language]
		for _, key := range slices.Sorted(maps.Keys(texts)) {
			if !used[key] {
				add("no property uses "+key, "remove it, or name it as a labelKey or descriptionKey")
			}
		}
		for _, key := range slices.Sorted(maps.Keys(used)) {
			if texts[key] == "" {
				add("there is no text of "+key, "translate it; label and description are shown meanwhile")
			}
		}
	}
}

// permissions names those that operators will ask about.
func (l *linter) permissions() {
	p := l.archive.Declaration.Permissions
	for _, costly := range []struct {
		asked        bool
		at, message  string
		alternatives string
	}{
		{
			slices.Contains(p.Capabilities, "sys_admin"), "permissions.capabilities",
			"sys_admin costs the file rules: the driver can't run at level good",
			"let the host launch a program that needs it, or do without",
		},
		{
			p.UnixSockets, "permissions.unixSockets",
			"it can connect to any unix socket that file modes let through",
			"ask only if the backend has no TCP port",
		},
		{
			p.HostNetwork && len(p.TCPConnect)+len(p.TCPListen) > 0, "permissions.hostNetwork",
			"ports alone put it into the host's network", "leave hostNetwork out",
		},
	} {
		if costly.asked {
			l.advise(costly.at, costly.message, costly.alternatives)
		}
	}
	for i, dir := range p.Read {
		if slices.Contains([]string{"/", "/etc", "/home", "/root", "/var", "/run", "/proc"}, dir) {
			l.advise(fmt.Sprintf("permissions.read[%d]", i), "it could read all of "+dir, "name the files it needs")
		}
	}
}
