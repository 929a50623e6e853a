package archive

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
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
		l.advise("requires.server", "it claims to run under every version",
			`add a range that you test, such as ">=0.1.0-0 <2"`)
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

// messages checks that English has a text for all keys, and that no language has others.
func (l *linter) messages() {
	described, err := l.archive.Declaration.Describe()
	if err != nil {
		return // what was parsed can be described
	}
	texts, err := property.NewMessages(l.archive.Messages)
	if err == nil {
		err = texts.Lint(property.Described(described.GetProperties()))
	}
	wrong, ok := errors.AsType[*resources.Error](err)
	if !ok {
		return
	}
	for _, field := range wrong.Fields {
		language, key, _ := strings.Cut(strings.TrimPrefix(field.Pointer, "/"), "/")
		l.problems = append(l.problems, Problem{
			File: path.Join(messagesDir, language+".json"), Path: key, Message: field.Message,
			Remedy: "a text that is missing is shown as label or description",
		})
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
