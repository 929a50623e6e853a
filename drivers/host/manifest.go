package host

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/units"
)

// Manifest declares a version of a driver: what it is, how it is started, and what it is permitted to do. Operators
// see it before they install it.
type Manifest struct {
	// Name is "vendor/name"; Version a semantic version.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Categories the driver serves; Hello must agree.
	Categories []driverpb.Category `json:"categories"`
	// Command is the program, by absolute path, and its arguments.
	Command []string `json:"command"`
	// Code is the directory of the driver's own files, which it may read and nobody may change; empty = none.
	Code        string      `json:"code,omitempty"`
	Permissions Permissions `json:"permissions"`
	// DataGroup makes the driver a member of the group that owns pools, images and guests' files.
	DataGroup bool `json:"data_group,omitempty"`
	// Isolation is the level below which the driver must not run; Require names mechanisms it can't do without.
	Isolation sandbox.Level `json:"isolation,omitempty"`
	Require   []string      `json:"require,omitempty"`
	Limits    Limits        `json:"limits"`
	Timeouts  Timeouts      `json:"timeouts"`
	// OrphanTTL is how long the process lives without a server; 0 = 10 minutes.
	OrphanTTL time.Duration `json:"orphan_ttl,omitempty"`
}

// Permissions is what a driver may do besides computing, answering calls and writing to its work directory.
type Permissions struct {
	// Read, Write: files and directories, absolute. Directories to write to are made when they are missing.
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`
	// Exec: programs the driver may execute itself, confined like it.
	Exec []string `json:"exec,omitempty"`
	// Devices it may open ("/dev/kvm").
	Devices []string `json:"devices,omitempty"`
	// UnixSockets it may make and connect to.
	UnixSockets bool `json:"unix_sockets,omitempty"`
	// TCPConnect, TCPListen: ports. UDP is all or nothing.
	TCPConnect []uint16 `json:"tcp_connect,omitempty"`
	TCPListen  []uint16 `json:"tcp_listen,omitempty"`
	UDP        bool     `json:"udp,omitempty"`
	// HostNetwork leaves the process in the host's network namespace even without ports.
	HostNetwork bool `json:"host_network,omitempty"`
	// Capabilities the process keeps ("net_admin"). sys_admin permits mounts and namespaces, at the price of the
	// file rules.
	Capabilities []string `json:"capabilities,omitempty"`
	// Launch: programs the host may start on the driver's behalf.
	Launch []Program `json:"launch,omitempty"`
}

// Program is one that the host may launch as a unit.
type Program = units.Program

// Limits of a driver process; 0 takes the default.
type Limits struct {
	// MemoryBytes, default 512 MiB, at least 64 MiB.
	MemoryBytes uint64 `json:"memory_bytes,omitempty"`
	// OpenFiles, default 1024.
	OpenFiles uint64 `json:"open_files,omitempty"`
	// Processes and threads, default 256.
	Processes uint64 `json:"processes,omitempty"`
	// FileBytes limits any one file; default none.
	FileBytes uint64 `json:"file_bytes,omitempty"`
	// Units that run at a time, default 4096.
	Units uint32 `json:"units,omitempty"`
	// Concurrency is calls in flight, default 64.
	Concurrency uint32 `json:"concurrency,omitempty"`
}

// Timeouts of a driver; 0 takes the default.
type Timeouts struct {
	// Start until Hello is answered and Configure done, default 30 s.
	Start time.Duration `json:"start,omitempty"`
	// Call is the deadline of calls that come without one, default 2 min.
	Call time.Duration `json:"call,omitempty"`
	// Shutdown is what running calls get, default 30 s.
	Shutdown time.Duration `json:"shutdown,omitempty"`
}

const minMemory = 64 << 20

// withDefaults fills in what was left out.
func (m Manifest) withDefaults() Manifest {
	m.Limits.MemoryBytes = cmp.Or(m.Limits.MemoryBytes, 512<<20)
	m.Limits.OpenFiles = cmp.Or(m.Limits.OpenFiles, 1024)
	m.Limits.Processes = cmp.Or(m.Limits.Processes, 256)
	m.Limits.Units = cmp.Or(m.Limits.Units, 4096)
	m.Limits.Concurrency = cmp.Or(m.Limits.Concurrency, 64)
	m.Timeouts.Start = cmp.Or(m.Timeouts.Start, 30*time.Second)
	m.Timeouts.Call = cmp.Or(m.Timeouts.Call, 2*time.Minute)
	m.Timeouts.Shutdown = cmp.Or(m.Timeouts.Shutdown, 30*time.Second)
	m.OrphanTTL = cmp.Or(m.OrphanTTL, 10*time.Minute)
	return m
}

var (
	nameSyntax    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31}$`)
	versionSyntax = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]{1,32})?(\+[0-9A-Za-z.-]{1,32})?$`)
)

// Validate checks the manifest alone, not the machine. The error names each wrong field by its path.
func (m Manifest) Validate() error {
	var problems problems
	problems.check(nameSyntax.MatchString(m.Name), "name", "want vendor/name in lower case, digits and dashes")
	problems.check(versionSyntax.MatchString(m.Version), "version", "want a semantic version")
	problems.check(len(m.Categories) > 0, "categories", "want at least one")
	for i, category := range m.Categories {
		_, known := driverpb.Category_name[int32(category)]
		problems.check(known && category != 0, fmt.Sprintf("categories[%d]", i), "unknown category")
	}
	if problems.check(len(m.Command) > 0, "command", "want a program") {
		problems.path(m.Command[0], "command[0]")
	}
	if m.Code != "" {
		problems.path(m.Code, "code")
		for i, path := range m.Permissions.Write {
			problems.check(!within(path, m.Code) && !within(m.Code, path), fmt.Sprintf("permissions.write[%d]", i),
				"drivers may not write to their code")
		}
	}
	if _, err := sandbox.ParseLevel(string(m.Isolation)); err != nil {
		problems.check(false, "isolation", err.Error())
	}
	problems.check(m.Limits.MemoryBytes == 0 || m.Limits.MemoryBytes >= minMemory, "limits.memory_bytes",
		"want at least 64 MiB")
	problems.check(m.Timeouts.Start >= 0, "timeouts.start", "must not be negative")
	problems.check(m.Timeouts.Call >= 0, "timeouts.call", "must not be negative")
	problems.check(m.Timeouts.Shutdown >= 0, "timeouts.shutdown", "must not be negative")
	problems.check(m.OrphanTTL >= 0, "orphan_ttl", "must not be negative")
	m.Permissions.validate(&problems)
	if len(problems) > 0 {
		return fmt.Errorf("manifest of %q: %w", m.Name, errors.Join(problems...))
	}
	return nil
}

func (p *Permissions) validate(problems *problems) {
	problems.paths(p.Read, "permissions.read")
	problems.paths(p.Write, "permissions.write")
	problems.paths(p.Exec, "permissions.exec")
	problems.devices(p.Devices, "permissions.devices")
	problems.capabilities(p.Capabilities, "permissions.capabilities")
	for i, path := range p.Write {
		problems.check(!forbidden(path), fmt.Sprintf("permissions.write[%d]", i),
			"drivers may not write to system directories")
	}
	for i, program := range p.Launch {
		at := fmt.Sprintf("permissions.launch[%d]", i)
		problems.path(program.Path, at+".path")
		problems.paths(program.Read, at+".read")
		problems.paths(program.Exec, at+".exec")
		problems.devices(program.Devices, at+".devices")
		problems.capabilities(program.Capabilities, at+".capabilities")
	}
}

// problems collects errors with field paths.
type problems []error

func (p *problems) check(ok bool, field, message string) bool {
	if !ok {
		*p = append(*p, fmt.Errorf("%s: %s", field, message))
	}
	return ok
}

func (p *problems) path(path, field string) {
	p.check(filepath.IsAbs(path) && filepath.Clean(path) == path && !strings.ContainsRune(path, 0), field,
		"want an absolute path without . and ..")
}

func (p *problems) paths(paths []string, field string) {
	for i, path := range paths {
		p.path(path, fmt.Sprintf("%s[%d]", field, i))
	}
}

func (p *problems) devices(paths []string, field string) {
	for i, path := range paths {
		at := fmt.Sprintf("%s[%d]", field, i)
		p.path(path, at)
		p.check(strings.HasPrefix(path, "/dev/"), at, "want a path under /dev")
	}
}

func (p *problems) capabilities(names []string, field string) {
	for i, name := range names {
		if err := sandbox.CheckCapability(name); err != nil {
			p.check(false, fmt.Sprintf("%s[%d]", field, i), err.Error())
		}
	}
}

// isVersion tells whether a program that says it is a version is the manifest's. Build metadata at the end of that
// tells apart what is made of one program, and the program need not know of it.
func (m Manifest) isVersion(said string) bool {
	rest, begins := strings.CutPrefix(m.Version, said)
	if !begins || said == "" {
		return false
	}
	return rest == "" || rest[0] == '+' || rest[0] == '.' && strings.Contains(said, "+")
}

// Digest identifies what the manifest says.
func (m Manifest) Digest() (string, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encoding the manifest of %s: %w", m.Name, err)
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// fileName turns "vendor/name" into a file name. Names hold no dot, so two names never meet.
func fileName(driver string) string {
	return strings.ReplaceAll(driver, "/", ".")
}

// InstanceName is the name of the process of a version on a node.
func InstanceName(driver, version string) string {
	return fileName(driver) + "@" + version
}
