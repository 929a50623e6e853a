package archive

// Names of the format.
const (
	// APIVersion is the version of driver.yaml that this package reads and writes.
	APIVersion = "bulkhead.dev/v1"
	// KindDriver is the kind of archives that hold a driver.
	KindDriver = "driver"
	// DeclarationFile is where an archive says what it is.
	DeclarationFile = "driver.yaml"
	// LicenseFile holds the text of the licence.
	LicenseFile = "LICENSE"
	// ChangelogFile may say what changed.
	ChangelogFile = "CHANGELOG.md"
)

// Declaration is what driver.yaml says. Its JSON Schema is Schema; Parse checks both that and what a schema can't say.
type Declaration struct {
	APIVersion  string   `yaml:"apiVersion"`
	Kind        string   `yaml:"kind"`
	Name        string   `yaml:"name"`
	Version     string   `yaml:"version"`
	Description string   `yaml:"description"`
	Categories  []string `yaml:"categories"`
	// License is an SPDX expression.
	License   string `yaml:"license"`
	Author    string `yaml:"author"`
	Homepage  string `yaml:"homepage,omitempty"`
	Changelog string `yaml:"changelog,omitempty"`
	// Contract is the range of versions of the driver contract that the driver speaks.
	Contract Contract `yaml:"contract"`
	// Entry says how it is started, by platform: "linux/amd64", or "any".
	Entry map[string]Entry `yaml:"entry"`
	// Script says that the entry is run once per call.
	Script      Script        `yaml:"script,omitempty"`
	Requires    Requires      `yaml:"requires,omitempty"`
	Permissions Permissions   `yaml:"permissions,omitempty"`
	DataGroup   bool          `yaml:"dataGroup,omitempty"`
	Isolation   Isolation     `yaml:"isolation,omitempty"`
	Limits      ProcessLimits `yaml:"limits,omitempty"`
	// Concurrency is calls in flight; 0 = the host's default.
	Concurrency uint32     `yaml:"concurrency,omitempty"`
	Handles     Handles    `yaml:"handles"`
	Properties  []Property `yaml:"properties,omitempty"`
	// Actions are those on its resources that take more than the server asks for.
	Actions      []ActionRole `yaml:"actions,omitempty"`
	Capabilities Capabilities `yaml:"capabilities,omitempty"`
	Timeouts     Timeouts     `yaml:"timeouts,omitempty"`
}

// Contract is a range of versions of the driver contract, both included.
type Contract struct {
	Min uint32 `yaml:"min"`
	Max uint32 `yaml:"max"`
}

// Entry is how a driver is started on a platform: interpreter, command and arguments make one command line.
type Entry struct {
	// Interpreter is a program of the host by absolute path, and arguments.
	Interpreter []string `yaml:"interpreter,omitempty"`
	// Command is a path in the archive.
	Command   string   `yaml:"command"`
	Arguments []string `yaml:"arguments,omitempty"`
}

// Requires is what must be there before the driver runs.
type Requires struct {
	// Server is a range of versions of Bulkhead; empty = any.
	Server string `yaml:"server,omitempty"`
	// Drivers of the same category that run before it.
	Drivers []Requirement `yaml:"drivers,omitempty"`
}

// Requirement is a driver that another one needs, in a range of versions.
type Requirement struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// Permissions is what a driver may do besides computing, answering calls and writing to its work directory; see
// host.Permissions. Programs to execute or launch may be paths in the archive.
type Permissions struct {
	Read         []string  `yaml:"read,omitempty"`
	Write        []string  `yaml:"write,omitempty"`
	Exec         []string  `yaml:"exec,omitempty"`
	Devices      []string  `yaml:"devices,omitempty"`
	UnixSockets  bool      `yaml:"unixSockets,omitempty"`
	TCPConnect   []uint16  `yaml:"tcpConnect,omitempty"`
	TCPListen    []uint16  `yaml:"tcpListen,omitempty"`
	UDP          bool      `yaml:"udp,omitempty"`
	HostNetwork  bool      `yaml:"hostNetwork,omitempty"`
	Capabilities []string  `yaml:"capabilities,omitempty"`
	Launch       []Program `yaml:"launch,omitempty"`
}

// Program is one that the host may launch for the driver.
type Program struct {
	Path         string   `yaml:"path"`
	Capabilities []string `yaml:"capabilities,omitempty"`
	Devices      []string `yaml:"devices,omitempty"`
	Read         []string `yaml:"read,omitempty"`
	Exec         []string `yaml:"exec,omitempty"`
	Network      bool     `yaml:"network,omitempty"`
}

// Isolation is how the driver must be confined at least.
type Isolation struct {
	Minimum string   `yaml:"minimum,omitempty"`
	Require []string `yaml:"require,omitempty"`
}

// ProcessLimits are those of the driver's process; 0 takes the host's default.
type ProcessLimits struct {
	Memory    Size   `yaml:"memory,omitempty"`
	OpenFiles uint64 `yaml:"openFiles,omitempty"`
	Processes uint64 `yaml:"processes,omitempty"`
	File      Size   `yaml:"file,omitempty"`
}

// Handles are the formats of handles.
type Handles struct {
	Reads  []uint32 `yaml:"reads"`
	Writes uint32   `yaml:"writes"`
}

// Timeouts of the driver; 0 takes the default.
type Timeouts struct {
	Start    Duration `yaml:"start,omitempty"`
	Call     Duration `yaml:"call,omitempty"`
	Shutdown Duration `yaml:"shutdown,omitempty"`
	// Orphan is how long the process lives without a server.
	Orphan Duration `yaml:"orphan,omitempty"`
}
