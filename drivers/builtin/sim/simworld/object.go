package simworld

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// The kinds of things in a world, in the words of the vocabulary.
const (
	KindPool     = "pool"
	KindVolume   = "volume"
	KindSnapshot = "snapshot"
	KindStore    = "image-store"
	KindTemplate = "template"
	KindHost     = "host"
	KindMachine  = "machine"
	KindNetwork  = "network"
	KindNic      = "nic"
	KindPower    = "power" // the switch of a host
)

// States of things. All but machines and switches are Present for as long as they exist.
const (
	Present = "present"
	Running = "running"
	Paused  = "paused"
	Stopped = "stopped"
	// Waiting is a machine that is to come from another host, Moved one that went to another, and Unconfirmed one that
	// was stopped to go there, of which nobody knows here whether it has arrived.
	Waiting     = "waiting"
	Moved       = "moved"
	Unconfirmed = "unconfirmed"
	On          = "on"
	Off         = "off"
)

// Ref names a resource by kind and id.
type Ref struct{ Kind, ID string }

// Key names a thing where it is: one id may exist in two pools, which is what Truth.Duplicates looks for.
type Key struct {
	Kind string
	// Scope is the id of the pool, store, host or network the thing is in; empty for those.
	Scope string
	ID    string
}

// Ref returns the name without the place.
func (k Key) Ref() Ref { return Ref{Kind: k.Kind, ID: k.ID} }

// String writes the key as kind/scope/id.
func (k Key) String() string {
	return strings.Join(slices.DeleteFunc([]string{k.Kind, k.Scope, k.ID}, func(s string) bool { return s == "" }), "/")
}

// Object is one thing that exists. Objects are values; Detail is shared and must be cloned before it is changed, which
// Tx.Get has done already.
type Object struct {
	Key
	State  string
	Format string
	// Bytes is the size of a volume, snapshot or template, the memory of a machine, and the capacity of a pool,
	// store or host (0 = boundless).
	Bytes uint64
	// Allocated is the space a volume or snapshot takes in its pool.
	Allocated uint64
	// Content says what is written on a volume, in a snapshot or a template; empty = zeros.
	Content string
	// Epoch is the highest epoch under which the thing itself was changed.
	Epoch uint64
	// Seq is the journal's number of the last change.
	Seq    uint64
	Detail *Detail

	token uint64 // hash of the token of the last change
}

// ChangedBy tells whether the last change was made by a call with this token.
func (o Object) ChangedBy(token string) bool {
	return token != "" && o.token == hashToken(token)
}

// Detail is what only some things have.
type Detail struct {
	Of       string            `json:"of,omitempty"`       // a snapshot's volume, a nic's machine
	Exports  []Export          `json:"exports,omitempty"`  // where a volume is attached
	Thin     bool              `json:"thin,omitempty"`     // a pool allocates what is written only
	Cpus     uint32            `json:"cpus,omitempty"`     // of a host
	Virtual  uint64            `json:"virtual,omitempty"`  // size of the disk in a template
	Checksum string            `json:"checksum,omitempty"` // of a template
	Mac      string            `json:"mac,omitempty"`      // of a nic
	Address  string            `json:"address,omitempty"`  // of a nic
	Shape    string            `json:"shape,omitempty"`    // what a thing was made as, to compare with
	Rules    []string          `json:"rules,omitempty"`    // of a network
	Facts    map[string]string `json:"facts,omitempty"`    // the rest
	Machine  *Machine          `json:"machine,omitempty"`
}

// Export is a host a volume is attached to.
type Export struct {
	Host     string `json:"host"`
	ReadOnly bool   `json:"ro,omitempty"`
}

// Machine is what a guest has besides memory.
type Machine struct {
	Name string `json:"name,omitempty"`
	Cpus uint32 `json:"cpus,omitempty"`
	// Booted is when it was started or rebooted, Resumed since when it runs without a pause.
	Booted  time.Time `json:"booted"`
	Resumed time.Time `json:"resumed"`
	// Ran is how long it had run before it was paused last.
	Ran     time.Duration `json:"ran,omitempty"`
	Boots   uint32        `json:"boots,omitempty"`
	Frozen  time.Time     `json:"frozen,omitzero"` // until when writes are held
	Reason  string        `json:"reason,omitempty"`
	Started string        `json:"started,omitempty"` // token of the call that started it
	Disks   []Disk        `json:"disks,omitempty"`
	Nics    []Nic         `json:"nics,omitempty"`
}

// Disk is a disk plugged into a machine.
type Disk struct {
	Volume   string `json:"volume,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	Path     string `json:"path,omitempty"`
	Format   string `json:"format,omitempty"`
	ReadOnly bool   `json:"ro,omitempty"`
	Device   string `json:"device,omitempty"`
	Serial   string `json:"serial,omitempty"`
	Boot     uint32 `json:"boot,omitempty"`
}

// Nic is a network interface plugged into a machine.
type Nic struct {
	ID        string `json:"id,omitempty"`
	Mac       string `json:"mac,omitempty"`
	Interface string `json:"interface,omitempty"`
	Mtu       uint32 `json:"mtu,omitempty"`
}

// Protocol is how simulated volumes and templates are opened; their paths are made by PathOf.
const Protocol = "sim"

// PathOf is the path under which a simulated volume or template is opened: "sim:<scope>/<id>".
func PathOf(key Key) string { return Protocol + ":" + key.Scope + "/" + key.ID }

// KeyAt is the reverse of PathOf for a kind; false if path is not that of a simulated thing.
func KeyAt(kind, path string) (Key, bool) {
	rest, ok := strings.CutPrefix(path, Protocol+":")
	scope, id, slash := strings.Cut(rest, "/")
	if !ok || !slash || scope == "" || id == "" || strings.Contains(id, "/") {
		return Key{}, false
	}
	return Key{Kind: kind, Scope: scope, ID: id}, true
}

// live tells whether a machine is on, so that it holds memory and disks.
func (o *Object) live() bool {
	return o.Kind == KindMachine && (o.State == Running || o.State == Paused)
}

// machine returns the machine's own part; never nil, so that readers need no check.
func (o *Object) machine() *Machine {
	if o.Detail == nil || o.Detail.Machine == nil {
		return &Machine{}
	}
	return o.Detail.Machine
}

// clone copies all that could be changed through the copy.
func (d *Detail) clone() *Detail {
	if d == nil {
		return nil
	}
	c := *d
	c.Exports, c.Rules = slices.Clone(d.Exports), slices.Clone(d.Rules)
	c.Facts = maps.Clone(d.Facts)
	if d.Machine != nil {
		m := *d.Machine
		m.Disks, m.Nics = slices.Clone(m.Disks), slices.Clone(m.Nics)
		c.Machine = &m
	}
	return &c
}

// hashToken is FNV-1a: a million objects need not keep their tokens' text.
func hashToken(token string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(token) {
		h = (h ^ uint64(token[i])) * prime
	}
	return h
}
