package drivertest

import (
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Harness is what a vendor gives: a way to start the driver, and for each category it serves a profile that says what
// to test it on. A profile that is nil says that the driver does not serve the category, which the kit checks too.
type Harness struct {
	// Start starts an instance of the driver and ends it through tb.Cleanup. It is called once per check; all
	// instances may share one backend. Process and InProcess make such functions.
	Start func(tb T) Instance
	// Beside starts another instance on the host of the first one, which serves the same resources, for swaps; nil
	// for Start.
	Beside func(tb T, first Instance) Instance
	// Before starts an instance of an older version, from which upgrades are tried; nil when there is none.
	Before func(tb T) Instance
	// Properties and Secrets are the driver-wide ones. The kit gives them to Configure after each start, and to no other
	// call, as the engine does.
	Properties map[string]any
	Secrets    map[string]string

	Storage    *Storage
	Images     *Images
	Hypervisor *Hypervisor
	Networks   *Networks
	OutOfBand  *OutOfBand

	// Truth, if there is one, looks at the backend past the driver.
	Truth Truth
	// Limits replaces the kit's own patience where it is not zero.
	Limits Limits
	// Declared is what the driver's archive says that Describe answers; nil when there is none.
	Declared *driverpb.DescribeReply
	// Alone says that instances can't reach each other, so that machines can't move between them.
	Alone bool
	// Only are the categories to check; nil for all. A driver may declare more.
	Only []driverpb.Category
	// Virtual runs each check in a testing/synctest bubble. For drivers that live in memory only and are served on
	// an in-memory listener (InMemory).
	Virtual bool

	about *about // what the driver says of itself; known once it was asked
}

// Instance is a process of the driver under test.
type Instance interface {
	// Conn returns a connection to the process; after Restart and Cut it may be another one. The kit does not close
	// it.
	Conn() grpc.ClientConnInterface
	// Kill ends the process as kill -9 does, and returns when it is gone.
	Kill(tb T)
	// Restart starts the driver again, on the same backend and with the same working directory, after Kill or
	// after the process ended by itself.
	Restart(tb T)
	// Cut breaks the connection under the calls that are under way, as it breaks when the server is killed, and makes
	// another one. The process of the driver runs on.
	Cut(tb T)
}

// Watched is an Instance that can be looked at past the driver. An Instance may be it.
type Watched interface {
	Instance
	// Said is what the driver has logged so far.
	Said(tb T) string
	// Remains names what the driver has on its host now beyond its own process: files in its work directory, other
	// processes, data-path processes.
	Remains(tb T) []string
}

// Granting is an Instance whose process reaches only what it is granted. The kit grants it, as a host does, what the
// properties name that Describe declares as paths.
type Granting interface {
	Instance
	// Grant makes sure that the process reaches a path. Errors are told, not reported: a driver that is not granted
	// its path has to say so itself.
	Grant(tb T, path string, write bool) error
}

// Confined is an Instance whose process may do only what it is permitted.
type Confined interface {
	Instance
	// Advice names the permissions that are missing, going by what was said where something was refused.
	Advice(said string) []string
}

// Truth looks at the backend past the driver: at the directory, the array, the kernel.
type Truth interface {
	// Count tells how many things of this kind with this id exist. It is 0 or 1 unless something is wrong.
	Count(tb T, kind, id string) int
}

// EffectTruth is a Truth that also knows how often a call took effect. A Truth may have it.
type EffectTruth interface {
	Truth
	// Effects tells how many effects the calls with this token had.
	Effects(tb T, token string) int
}

// Limits is the kit's patience.
type Limits struct {
	// Call is the deadline of an ordinary call; default one minute.
	Call time.Duration
	// Cancel is how soon after a cancel or a deadline the driver must have stopped working on a call; default 15
	// seconds.
	Cancel time.Duration
	// KillPoints is at how many instants of each mutating call the process is killed; default 3.
	KillPoints int
	// Parallel is how many resources are worked on at the same time in the checks of concurrency; default 8.
	Parallel int
}

// Properties are vendor properties of one resource as the engine would hand them over: strings, float64 numbers and
// booleans.
type Properties map[string]any

// Storage says what to test the storage category on.
type Storage struct {
	// Pool returns the properties of an empty pool made for one check; the harness removes it in tb.Cleanup.
	Pool func(tb T) Properties
	// Secrets are those of the pool.
	Secrets map[string]string
	// BadPools are pools that OpenPool must refuse.
	BadPools []BadSetting
	// VolumeBytes is the size of the volumes the kit makes, a multiple of 1 MiB; default 8 MiB.
	VolumeBytes uint64
	// Format is that of volumes created without one, where the pool's properties overrule what the driver prefers;
	// default the first one it declares.
	Format string
	// TooLargeBytes is a size no pool of the harness has space for; 0 where the backend promises more than it has, so
	// that no size is refused.
	TooLargeBytes uint64
	// Host is the host AttachVolume names; default host-kit.
	Host *driverpb.Ref
	// Image returns a template's content to clone volumes from; nil when the driver declares no clone.
	Image func(tb T) Image
	// Write writes data at the start of an attached volume and Read reads n bytes from there, past the driver,
	// as a hypervisor would by opening disk.
	Write func(tb T, disk *driverpb.Disk, data []byte)
	Read  func(tb T, disk *driverpb.Disk, n int) []byte
}

// Image is a template to clone volumes from, and the bytes its disk begins with.
type Image struct {
	Image *driverpb.Image
	Head  []byte
}

// BadSetting is a setting the driver must refuse.
type BadSetting struct {
	// Name says what is wrong, for the name of the check.
	Name       string
	Properties func(tb T) Properties
	// Class is the class of the fault that is expected; unspecified stands for INVALID. An INVALID fault must name a
	// field.
	Class driverpb.Class
	// Code is the code of the fault, if it matters.
	Code string
}

// Images says what to test the image category on.
type Images struct {
	// Store returns the properties of an empty store made for one check.
	Store func(tb T) Properties
	// Secrets are those of every store.
	Secrets map[string]string
	// BadStores are stores that OpenStore must refuse.
	BadStores []BadSetting
	// Good returns the source of a template that can be imported: format, checksum and source set; call and store
	// are filled in by the kit. Each call may consume what an earlier one returned, so make it anew.
	Good func(tb T) *driverpb.ImportTemplateRequest
	// Bad are sources that must be refused, with nothing left behind.
	Bad []BadImport
}

// BadImport is a template that must be refused.
type BadImport struct {
	Name   string
	Source func(tb T) *driverpb.ImportTemplateRequest
	// Class is the class of the fault that is expected; unspecified stands for INVALID.
	Class driverpb.Class
	Code  string
}

// Hypervisor says what to test the hypervisor category on.
type Hypervisor struct {
	// Host returns the properties of a host made for one check.
	Host func(tb T) Properties
	// Secrets are those of every host.
	Secrets map[string]string
	// BadHosts are hosts that OpenHost must refuse.
	BadHosts []BadSetting
	// Machine returns the spec of a small machine that boots: the harness makes its disks and whatever its nics
	// need, and removes them in tb.Cleanup. The kit stops machines before that.
	Machine func(tb T, id string) *driverpb.MachineSpec
	// Disk returns one more disk for a machine, to plug in and out; nil when hot_plug_disk is not declared.
	Disk func(tb T, machine string) *driverpb.MachineDisk
	// Nic returns one more nic for a machine, to plug in and out; nil when hot_plug_nic is not declared.
	Nic func(tb T, machine string) *driverpb.MachineNic
	// Boot is how long a guest needs until it reacts to the power button and a reboot; default no time.
	Boot time.Duration
	// IgnoresPowerButton says that the guest does not react to the power button, so that only a forced stop ends it.
	IgnoresPowerButton bool
	// UnknownGuest says that nobody knows whether it does.
	UnknownGuest bool
}

// Networks says what to test the network category on.
type Networks struct {
	// Properties returns the vendor properties of a network made for one check.
	Properties func(tb T) Properties
	// Secrets are those of every network.
	Secrets map[string]string
	// Spec returns the spec of a network that can be built and overlaps no other one.
	Spec func(tb T) *driverpb.NetworkSpec
	// Nic returns the nth nic (from 0) of a network built from spec: machine, mac, address, hostname, owner.
	Nic func(tb T, spec *driverpb.NetworkSpec, n int) *driverpb.NicSpec
	// Bad are specs that DesignNetwork must refuse.
	Bad []BadNetwork
}

// OutOfBand says what to test the out-of-band category on. Two hosts it returns are never the same, or the first is
// not used any more.
type OutOfBand struct {
	// Host returns the properties of a host whose power is on, made for one check.
	Host func(tb T) Properties
	// Secrets are those of every host.
	Secrets map[string]string
	// Unconfirmed returns a host whose power is on, and whose controller takes every order and carries out none. The
	// driver must give up waiting well before a call's deadline.
	Unconfirmed func(tb T) Properties
	// Refused are settings, of hosts whose power is on, that every call must refuse: another identity, a wrong user, a
	// controller that can't be reached.
	Refused []BadSetting
	// Powered tells, past the driver, whether the power of a host is on; nil when only the driver can tell.
	Powered func(tb T, host *driverpb.Ref, properties Properties) bool
	// Shared says that Host returns one host over and over: the kit turns it on first.
	Shared bool
	// Cuts tells, past the driver, how often the power of a host went off; nil when nobody counts.
	Cuts func(tb T, host *driverpb.Ref, properties Properties) int
}

// BadNetwork is a network that can't be built.
type BadNetwork struct {
	Name string
	Spec func(tb T) *driverpb.NetworkSpec
	// Field is the JSON pointer the fault must name; empty = any.
	Field string
}
