package sandbox

import (
	"slices"
)

// Spec says what the program may do. The host sends it to the stage over a pipe.
type Spec struct {
	// Argv is the program and its arguments; Argv[0] is an absolute path.
	Argv []string `json:"argv"`
	// Env is the whole environment.
	Env []string `json:"env"`
	// Dir is the working directory.
	Dir string `json:"dir"`
	// Umask of the program.
	Umask int `json:"umask"`
	// User to become; nil stays the user of the host.
	User *User `json:"user,omitempty"`
	// Capabilities the program keeps, by name ("net_admin").
	Capabilities []string `json:"capabilities,omitempty"`

	// Read, Write: files and directories, those that are missing are skipped. Exec: programs it may execute.
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`
	Exec  []string `json:"exec,omitempty"`
	// PinnedRead and PinnedWrite are as Read and Write, for paths below a directory that somebody less trusted than the
	// host may rearrange. They were checked and have no links in them; if one has by now, the stage refuses. A Dir that
	// is in PinnedWrite is entered in the same way.
	PinnedRead  []string `json:"pinned_read,omitempty"`
	PinnedWrite []string `json:"pinned_write,omitempty"`
	// Devices it may open and control.
	Devices []string `json:"devices,omitempty"`

	// NetNamespace is the path of the network namespace to enter; empty stays.
	NetNamespace string `json:"net_namespace,omitempty"`
	// TCPConnect and TCPListen are ports.
	TCPConnect []uint16 `json:"tcp_connect,omitempty"`
	TCPListen  []uint16 `json:"tcp_listen,omitempty"`
	// AllTCP leaves TCP unrestricted.
	AllTCP bool `json:"all_tcp,omitempty"`
	UDP    bool `json:"udp,omitempty"`
	// UnixSockets permits to make unix sockets, and with it to connect to any that file modes let through.
	UnixSockets bool `json:"unix_sockets,omitempty"`
	// Watch permits to be told of changes to files (inotify): in all directories that file modes let it read, whatever
	// the rules for files are.
	Watch bool `json:"watch,omitempty"`

	Limits Limits `json:"limits"`

	// Prior is what the host did itself before the stage began.
	Prior Report `json:"prior"`
	// Minimum level; below it the stage refuses.
	Minimum Level `json:"minimum"`
	// Require lists mechanisms without which the stage refuses.
	Require []string `json:"require,omitempty"`
}

// User is who the program runs as.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Limits are resource limits; 0 leaves one as it is.
type Limits struct {
	// DataBytes limits private memory (RLIMIT_DATA).
	DataBytes uint64 `json:"data_bytes,omitempty"`
	OpenFiles uint64 `json:"open_files,omitempty"`
	// Processes and threads of the user, counted together.
	Processes uint64 `json:"processes,omitempty"`
	// FileBytes limits the size of any one file written. A write beyond it fails with EFBIG.
	FileBytes uint64 `json:"file_bytes,omitempty"`
}

// Report says which mechanisms hold.
type Report struct {
	Level       Level     `json:"level"`
	LandlockABI int       `json:"landlock_abi"`
	Applied     []string  `json:"applied"`
	Missing     []Missing `json:"missing,omitempty"`
}

// Missing is a mechanism that could not be had, why, and what to do about it.
type Missing struct {
	Mechanism string `json:"mechanism"`
	Reason    string `json:"reason"`
	Remedy    string `json:"remedy,omitempty"`
}

// Has tells whether a mechanism is applied.
func (r *Report) Has(mechanism string) bool {
	return slices.Contains(r.Applied, mechanism)
}

// Apply adds an applied mechanism.
func (r *Report) Apply(mechanism string) {
	r.Applied = append(r.Applied, mechanism)
}

// Miss adds a missing mechanism.
func (r *Report) Miss(mechanism, reason, remedy string) {
	r.Missing = append(r.Missing, Missing{Mechanism: mechanism, Reason: reason, Remedy: remedy})
}

// Status is one line of what the stage tells the host on its status pipe. The pipe ends without an Error when the
// program was executed.
type Status struct {
	// PID of the detached stage, from the spawner.
	PID int `json:"pid,omitempty"`
	// Report, before the program is executed.
	Report *Report `json:"report,omitempty"`
	// Error, when the stage gave up.
	Error string `json:"error,omitempty"`
}
