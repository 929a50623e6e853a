package drivertest

import (
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func hypervisorSteps(h *Harness, can *driverpb.Capabilities) []step {
	all := []step{
		{driverpb.Hypervisor_OpenHost_FullMethodName, func(e *env) deed { return e.opening("host") }},
		{driverpb.Hypervisor_CloseHost_FullMethodName, func(e *env) deed { return e.closing("host") }},
		{driverpb.Hypervisor_StartMachine_FullMethodName, starting},
		{driverpb.Hypervisor_StopMachine_FullMethodName, stopping},
		{driverpb.Hypervisor_RebootMachine_FullMethodName, rebooting},
	}
	if can.GetPause() {
		all = append(all,
			step{driverpb.Hypervisor_PauseMachine_FullMethodName, pausing},
			step{driverpb.Hypervisor_ResumeMachine_FullMethodName, resuming})
	}
	if can.GetHotPlugDisk() && h.Hypervisor.Disk != nil {
		all = append(all,
			step{driverpb.Hypervisor_AttachDisk_FullMethodName, pluggingDisk},
			step{driverpb.Hypervisor_DetachDisk_FullMethodName, unpluggingDisk})
	}
	if can.GetHotPlugNic() && h.Hypervisor.Nic != nil {
		all = append(all,
			step{driverpb.Hypervisor_AttachNic_FullMethodName, pluggingNic},
			step{driverpb.Hypervisor_DetachNic_FullMethodName, unpluggingNic})
	}
	return all
}

// guest is a machine on a host.
type guest struct {
	host scope
	ref  *driverpb.Ref
	spec *driverpb.MachineSpec
}

func (e *env) hostRef(in scope) *driverpb.HostRef {
	return &driverpb.HostRef{Resource: in.ref, Handle: e.handle(in.ref)}
}

func (e *env) machineRequest(g guest) *driverpb.MachineRequest {
	e.Helper()
	return &driverpb.MachineRequest{Call: e.call(g.ref, g.host), Host: e.hostRef(g.host)}
}

// cut is the request that cuts a machine's power.
func (e *env) cut(g guest) *driverpb.StopMachineRequest {
	e.Helper()
	return &driverpb.StopMachineRequest{Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), Force: true}
}

// planned prepares a machine on a host and stops it at the end of the check.
func (e *env) planned(host scope) guest {
	e.Helper()
	g := guest{host: host, ref: e.ref("machine")}
	g.spec = e.harness.Hypervisor.Machine(e.T, g.ref.GetId())
	e.undo(driverpb.Hypervisor_StopMachine_FullMethodName, func() proto.Message { return e.cut(g) })
	return g
}

func (e *env) start(g guest) *driverpb.StartMachineRequest {
	e.Helper()
	return &driverpb.StartMachineRequest{Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), Machine: g.spec}
}

// running starts a machine on a host of its own.
func (e *env) running() guest {
	e.Helper()
	g := e.planned(e.open("host"))
	reply := must[*driverpb.MachineReply](e, driverpb.Hypervisor_StartMachine_FullMethodName, e.start(g))
	if reply.GetState() != "running" {
		e.Fatalf("a started machine is %q, want running", reply.GetState())
	}
	return g
}

func (e *env) stat(g guest) *driverpb.MachineReply {
	e.Helper()
	return must[*driverpb.MachineReply](e, driverpb.Hypervisor_StatMachine_FullMethodName, e.machineRequest(g))
}

// is asserts the state of a machine, and that it is there once or not at all.
func (e *env) is(g guest, state string) {
	e.Helper()
	if got := e.stat(g).GetState(); got != state {
		e.Errorf("the machine is %q, want %s", got, state)
	}
	there := 1
	if state == "absent" {
		there = 0
	}
	e.exists(g.host, g.ref, there)
}

func (e *env) isFunc(g guest, state string) func() {
	return func() { e.Helper(); e.is(g, state) }
}

func starting(e *env) deed {
	g := e.planned(e.open("host"))
	request := e.start(g)
	other, _ := proto.Clone(request).(*driverpb.StartMachineRequest)
	other.Machine.MemoryBytes += 64 * mebibyte
	return deed{request: request, other: other, reached: e.isFunc(g, "running"), pristine: e.isFunc(g, "absent")}
}

func stopping(e *env) deed {
	g := e.running()
	request := e.cut(g)
	other, _ := proto.Clone(request).(*driverpb.StopMachineRequest)
	other.GraceMs = 7
	return deed{request: request, other: other, reached: e.isFunc(g, "absent"), pristine: e.isFunc(g, "running")}
}

func rebooting(e *env) deed {
	g := e.running()
	request := e.cut(g)
	other, _ := proto.Clone(request).(*driverpb.StopMachineRequest)
	other.GraceMs = 7
	return deed{request: request, other: other, reached: e.isFunc(g, "running"), pristine: e.isFunc(g, "running")}
}

func pausing(e *env) deed {
	g := e.running()
	return deed{request: e.machineRequest(g), reached: e.isFunc(g, "paused"), pristine: e.isFunc(g, "running")}
}

func resuming(e *env) deed {
	g := e.running()
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_PauseMachine_FullMethodName, e.machineRequest(g))
	return deed{request: e.machineRequest(g), reached: e.isFunc(g, "running"), pristine: e.isFunc(g, "paused")}
}

// diskRequest plugs one more disk of the harness.
func (e *env) diskRequest(g guest) *driverpb.DiskRequest {
	e.Helper()
	return &driverpb.DiskRequest{
		Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), Disk: e.harness.Hypervisor.Disk(e.T, g.ref.GetId()),
	}
}

func pluggingDisk(e *env) deed {
	g := e.running()
	request := e.diskRequest(g)
	other, _ := proto.Clone(request).(*driverpb.DiskRequest)
	other.Disk.Serial = "another"
	return deed{request: request, other: other, reached: e.isFunc(g, "running")}
}

func unpluggingDisk(e *env) deed {
	g := e.running()
	plug := e.diskRequest(g)
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_AttachDisk_FullMethodName, plug)
	request := anew(e, plug)
	return deed{request: request, reached: func() {
		e.Helper()
		// What is out can go in again.
		must[*driverpb.MachineReply](e, driverpb.Hypervisor_AttachDisk_FullMethodName, anew(e, plug))
	}}
}

func (e *env) nicRequest(g guest) *driverpb.NicRequest {
	e.Helper()
	return &driverpb.NicRequest{
		Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), Nic: e.harness.Hypervisor.Nic(e.T, g.ref.GetId()),
	}
}

func pluggingNic(e *env) deed {
	g := e.running()
	request := e.nicRequest(g)
	other, _ := proto.Clone(request).(*driverpb.NicRequest)
	other.Nic.Mtu += 8
	return deed{request: request, other: other, reached: e.isFunc(g, "running")}
}

func unpluggingNic(e *env) deed {
	g := e.running()
	plug := e.nicRequest(g)
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_AttachNic_FullMethodName, plug)
	return deed{request: anew(e, plug), reached: func() {
		e.Helper()
		must[*driverpb.MachineReply](e, driverpb.Hypervisor_AttachNic_FullMethodName, anew(e, plug))
	}}
}
