package commandline

import "errors"

// ErrTooManyDevices says that a machine has more devices than slots.
var ErrTooManyDevices = errors.New("more devices than slots")

// Probe is a machine that only shows whether an accelerator executes guests: in place of a firmware it runs a ROM
// that ends in a write to the panic device.
type Probe struct {
	Binary      string
	Type        string
	Accelerator Accelerator
	ROM         string
	Control     string
}

// Args are QEMU's arguments, the binary first.
func (p *Probe) Args() []string {
	args := arguments{list: []string{p.Binary}}
	args.add("-name", "guest=probe")
	args.add("-nodefaults")
	args.add("-no-user-config")
	args.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	args.add("-machine", p.Type+",usb=off,vmport=off")
	model := "max"
	if p.Accelerator == KVM {
		model = "host"
	}
	args.add("-accel", string(p.Accelerator))
	args.add("-cpu", model)
	args.add("-m", "size=64M")
	args.add("-display", "none")
	args.add("-S")
	args.add("-action", "reboot=shutdown,shutdown=pause,panic=pause")
	args.add("-device", "pvpanic")
	args.add("-bios", p.ROM)
	args.add("-chardev", listen("control", p.Control))
	args.add("-mon", "chardev=control,mode=control")
	return args.list
}
