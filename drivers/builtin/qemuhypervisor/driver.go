package qemuhypervisor

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Name and Version of the driver.
const (
	Name    = "bulkhead/qemuhypervisor"
	Version = "1.0.0"
)

const (
	consoleSerial = "serial"
	consoleVNC    = "vnc"
	protocolFile  = "file"
	formatRaw     = "raw"
	formatQCOW2   = "qcow2"
	deviceDisk    = "disk"
	deviceCDROM   = "cdrom"
)

// binaries are where distributions keep QEMU, the first that is there is used.
func binaries() []string {
	return []string{"/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm"}
}

// Hypervisor runs machines. It holds nothing that it could not find again.
type Hypervisor struct {
	driverpb.UnimplementedHypervisorServer

	env      sdk.Environment
	turns    sdk.Turns[string]
	probing  sync.Mutex
	freezes  freezes
	janitor  janitor
	arrivals arrivals
	mutex    sync.Mutex
	driver   driverSettings
}

// driverSettings are the driver-wide properties.
type driverSettings struct {
	consoleLogBytes int64
	unplugPatience  time.Duration
}

// New makes the driver. It looks for machines of earlier instances and thaws those whose time is up.
func New(env sdk.Environment) (sdk.Driver, error) {
	h := newHypervisor(env)
	h.resume()
	return sdk.Driver{
		Name: Name, Version: Version,
		HandleWrites: handleVersion, Description: description(), Resources: h, Hypervisor: h,
	}, nil
}

func newHypervisor(env sdk.Environment) *Hypervisor {
	h := &Hypervisor{env: env, arrivals: arrivals{open: map[string]*arrival{}}}
	h.freezes = freezes{timers: map[string]*time.Timer{}, thaw: h.thawInTime}
	h.janitor = janitor{trim: h.trimLogs}
	defaults := propertyReader{}
	h.driver = driverSettingsOf(&defaults)
	return h
}

func driverSettingsOf(reader *propertyReader) driverSettings {
	return driverSettings{
		consoleLogBytes: reader.number(keyConsoleLogBytes),
		unplugPatience:  time.Duration(reader.number(keyUnplugSeconds)) * time.Second,
	}
}

// Configure implements sdk.Resources.
func (h *Hypervisor) Configure(_ context.Context, properties map[string]any, _ map[string]string) error {
	reader := propertyReader{values: properties}
	settings := driverSettingsOf(&reader)
	if reader.failed != nil {
		return reader.failed
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.driver = settings
	return nil
}

func (h *Hypervisor) configured() driverSettings {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.driver
}

// binary finds QEMU.
func (h *Hypervisor) binary() (string, error) {
	found := slices.IndexFunc(binaries(), func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().IsRegular()
	})
	if found < 0 {
		return "", sdk.NotFound("qemu-missing", "there is no QEMU on this host",
			"install it: apt-get install qemu-system-x86, or dnf install qemu-kvm")
	}
	return binaries()[found], nil
}

// resume takes up what earlier instances left: freezes that must end, logs that must be cut.
func (h *Hypervisor) resume() {
	ids, err := h.known()
	if err != nil {
		h.env.Log.Warn("machines of earlier instances can't be listed", slog.String("error", err.Error()))
		return
	}
	for _, id := range ids {
		h.watch(id)
		h.takeUp(id)
	}
}

// takeUp follows a machine that was on its way when an earlier instance ended.
func (h *Hypervisor) takeUp(id string) {
	n, err := h.directoryOf(id).read()
	switch {
	case err != nil || n == nil:
	case n.Move != nil:
		go h.settle(id) // ends when the move is over
	case n.Receive != "" && n.PID != 0:
		go func() { // likewise
			if _, err := h.follow(id); err != nil {
				h.env.Log.Warn("a machine did not come", slog.String("machine", id), slog.String("error", err.Error()))
			}
		}()
	}
}

// watch arms what has to happen for a machine without being asked.
func (h *Hypervisor) watch(id string) {
	h.janitor.wake()
	if n, err := h.directoryOf(id).read(); err == nil && n != nil && !n.FrozenUntil.IsZero() {
		h.freezes.arm(id, n.FrozenUntil)
	}
}
