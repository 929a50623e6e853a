package archive

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

const (
	minMemory  = 64 << 20
	maxTimeout = 24 * time.Hour
)

// check adds what a schema can't say to the problems of the document.
func (d *Declaration) check(doc *document) {
	c := checker{doc: doc}
	if _, err := semver.StrictNewVersion(d.Version); err != nil {
		c.add("it is not a semantic version: "+err.Error(), "want one such as 1.4.0 or 2.0.0-rc.1", "version")
	}
	if err := checkLicense(d.License); err != nil {
		c.add(err.Error(), "want an SPDX expression such as Apache-2.0, or LicenseRef-Example for your own", "license")
	}
	if d.Contract.Min > d.Contract.Max {
		c.add("it is above max", "want min at most as large as max", "contract", "min")
	}
	for _, platform := range slices.Sorted(maps.Keys(d.Entry)) {
		entry := d.Entry[platform]
		if len(entry.Interpreter) > 0 {
			c.absolute(entry.Interpreter[0], "entry", platform, "interpreter", "0")
		}
	}
	c.requires(d)
	c.permissions(&d.Permissions)
	if d.Limits.Memory > 0 && d.Limits.Memory < minMemory {
		c.add("it is too little", "want at least 64MiB", "limits", "memory")
	}
	if !slices.Contains(d.Handles.Reads, d.Handles.Writes) {
		c.add("it is not among those it reads", "add it to handles.reads", "handles", "writes")
	}
	c.timeouts(&d.Timeouts)
	c.properties(d)
	c.script(d)
}

// checker collects problems with their lines.
type checker struct {
	doc *document
}

func (c *checker) add(message, remedy string, path ...string) {
	line, known := 0, false
	for n := len(path); n >= 0 && !known; n-- { // of the field, or of the nearest above it that is there
		line, known = c.doc.lines[joined(path[:n])]
	}
	c.doc.add(line, path, message, remedy)
}

func (c *checker) absolute(path string, at ...string) {
	if !strings.HasPrefix(path, "/") || !cleanPath(path) {
		c.add("it is not an absolute path", "want one such as /usr/bin/python3, without . and ..", at...)
	}
}

func (c *checker) requires(d *Declaration) {
	if d.Requires.Server != "" {
		c.versions(d.Requires.Server, "requires", "server")
	}
	seen := map[string]bool{d.Name: true}
	for i, requirement := range d.Requires.Drivers {
		at := []string{"requires", "drivers", strconv.Itoa(i)}
		if seen[requirement.Name] {
			c.add(requirement.Name+" is this driver, or named twice", "remove it", append(at, "name")...)
		}
		seen[requirement.Name] = true
		c.versions(requirement.Version, append(at, "version")...)
	}
}

func (c *checker) versions(text string, at ...string) {
	if _, err := semver.NewConstraint(text); err != nil {
		c.add(fmt.Sprintf("%q is not a range of versions", text), `want one such as ">=1.2 <2"`, at...)
	}
}

func (c *checker) permissions(p *Permissions) {
	for i, path := range p.Write {
		if host.SystemPath(path) {
			c.add("no driver may write to "+path+", which is the system's",
				"want a directory of your own, such as /var/lib/<vendor>", "permissions", "write", strconv.Itoa(i))
		}
	}
}

func (c *checker) timeouts(t *Timeouts) {
	for name, timeout := range map[string]Duration{
		"start": t.Start, "call": t.Call, "shutdown": t.Shutdown, "orphan": t.Orphan,
	} {
		path := []string{"timeouts", name}
		_, given := c.doc.lines[joined(path)]
		if given && (timeout <= 0 || time.Duration(timeout) > maxTimeout) {
			c.add("it is out of range", "want more than 0s, at most 24h", path...)
		}
	}
}
