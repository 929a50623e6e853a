package qemuhypervisor

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
)

// verdict is what a probe found out about an accelerator.
type verdict struct {
	Works bool `json:"works"`
	// Why it does not, for people.
	Why string `json:"why,omitempty"`
	// Version of the QEMU that was started.
	Version string `json:"version,omitempty"`
	// Took is how long the probe's guest ran.
	Took time.Duration `json:"took"`
}

// verdicts are kept over restarts of the driver, since finding out that an accelerator does not work takes long. They
// hold as long as nothing changed that they depend on.
type verdicts struct {
	World string                              `json:"world"`
	Found map[commandline.Accelerator]verdict `json:"found"`
}

func (h *Hypervisor) verdictsPath() string {
	return filepath.Join(h.env.WorkDir, "accelerators.json")
}

// recallVerdict finds an earlier verdict that still holds.
func (h *Hypervisor) recallVerdict(binary string, kind commandline.Accelerator) (verdict, bool) {
	var kept verdicts
	if err := record.Load(h.verdictsPath(), &kept); err != nil || kept.World != world(binary) {
		return verdict{}, false
	}
	found, ok := kept.Found[kind]
	return found, ok
}

// keepVerdict is a help only: when it fails the probe is repeated some time.
func (h *Hypervisor) keepVerdict(binary string, kind commandline.Accelerator, found verdict) {
	var kept verdicts
	now := verdicts{World: world(binary), Found: map[commandline.Accelerator]verdict{}}
	if err := record.Load(h.verdictsPath(), &kept); err == nil && kept.World == now.World {
		maps.Copy(now.Found, kept.Found)
	}
	now.Found[kind] = found
	if now.World == "" {
		return
	}
	if err := record.Save(h.verdictsPath(), &now); err != nil {
		h.env.Log.Warn("what was found out about accelerators can't be kept", slog.String("error", err.Error()))
	}
}

// world names what verdicts depend on: the boot, the QEMU, and who may use KVM. Empty when that can't be told.
func world(binary string) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	var qemu, kvm unix.Stat_t
	if err := unix.Stat(binary, &qemu); err != nil {
		return ""
	}
	_ = unix.Stat(deviceKVM, &kvm) // zero when it is missing
	return fmt.Sprintf("%s %s %d %d %o %d %d", strings.TrimSpace(string(boot)), binary, qemu.Ino, qemu.Mtim.Nano(),
		kvm.Mode, kvm.Uid, kvm.Gid)
}
