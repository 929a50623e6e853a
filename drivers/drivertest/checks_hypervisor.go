package drivertest

import (
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func hypervisorChecks(h *Harness, can *driverpb.Capabilities) []check {
	stat := driverpb.Hypervisor_StatMachine_FullMethodName
	all := []check{
		{name: "Hypervisor: OpenHost tells what the host has", run: func(e *env) {
			host := e.open("host")
			reply := must[*driverpb.HostReply](e, driverpb.Hypervisor_StatHost_FullMethodName,
				&driverpb.HostCallRequest{Call: e.call(host.ref, host)})
			if reply.GetCpus() == 0 || reply.GetMemoryBytes() == 0 || reply.GetArchitecture() == "" ||
				reply.GetAccelerator() == "" {
				e.Errorf("the host is %v", reply)
			}
		}},
		{name: "Hypervisor: CloseHost of a host that runs machines is refused with CONFLICT", run: func(e *env) {
			g := e.running()
			e.refused(driverpb.Class_CLASS_CONFLICT, closeMethod("host"), e.closeRequest(g.host))
			e.is(g, "running")
		}},
		{name: "Hypervisor: a machine that was never started is absent, and stopping it succeeds", run: func(e *env) {
			g := guest{host: e.open("host"), ref: e.ref("machine")}
			if got := must[*driverpb.MachineReply](e, stat, e.machineRequest(g)).GetState(); got != "absent" {
				e.Errorf("got %q", got)
			}
			reply := must[*driverpb.MachineReply](e, driverpb.Hypervisor_StopMachine_FullMethodName, e.cut(g))
			if !slices.Contains([]string{"absent", "stopped"}, reply.GetState()) {
				e.Errorf("stopped it is %q", reply.GetState())
			}
		}},
		{name: "Hypervisor: a stopped machine is gone and can be started again", run: restartMachine},
		{name: "Hypervisor: starting what runs in another shape is refused with CONFLICT", run: func(e *env) {
			g := e.running()
			g.spec.Cpus++
			e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Hypervisor_StartMachine_FullMethodName, e.start(g))
		}},
		{name: "Hypervisor: a machine without cpus or memory is refused with INVALID and the field", run: machineInvalid},
		{name: "Hypervisor: a machine larger than the host is refused with EXHAUSTED", run: func(e *env) {
			g := e.planned(e.open("host"))
			g.spec.MemoryBytes = 1 << 50
			e.refused(driverpb.Class_CLASS_EXHAUSTED, driverpb.Hypervisor_StartMachine_FullMethodName, e.start(g))
			e.is(g, "absent")
		}},
		{name: "Hypervisor: statistics go on with time", run: statsAdvance},
		{name: "Hypervisor: a machine runs on when the driver is killed, and is adopted", run: machineSurvives},
		{name: "Hypervisor: Observe lists exactly the machines that exist", run: observeMachines},
		{name: "Hypervisor: Observe of what is not open is refused with NOT_FOUND", run: observeNothing("host")},
		{name: "Hypervisor: a graceful stop ends the guest, or says that it did not", run: stopGracefully},
		{name: "Hypervisor: changing a machine that does not run is refused with NOT_FOUND", run: changeAbsent},
		{name: "Hypervisor: frozen disks thaw, or freezing is refused with UNSUPPORTED", run: freezeThaw},
		{name: "Hypervisor: declared consoles open, others are refused with UNSUPPORTED", run: consolesOpen},
	}
	for _, bad := range h.Hypervisor.BadHosts {
		all = append(all, badSetting("Hypervisor", "host", bad))
	}
	return append(append(all, undeclaredChecks(can)...), moveChecks(h, can)...)
}

// undeclaredChecks holds a driver to refusing what it does not declare.
func undeclaredChecks(can *driverpb.Capabilities) []check {
	var all []check
	refuse := func(can bool, what, method string, request func(e *env, g guest) stepRequest) {
		name := "Hypervisor: " + what + " is not declared and is refused with UNSUPPORTED"
		all = append(all, check{name: name, why: undeclared(can, what), run: func(e *env) {
			g := e.running()
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, method, request(e, g))
		}})
	}
	refuse(can.GetPause(), "pause", driverpb.Hypervisor_PauseMachine_FullMethodName,
		func(e *env, g guest) stepRequest { return e.machineRequest(g) })
	refuse(can.GetHotPlugDisk(), "hot plug of disks", driverpb.Hypervisor_AttachDisk_FullMethodName,
		func(e *env, g guest) stepRequest {
			return &driverpb.DiskRequest{Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), Disk: &driverpb.MachineDisk{
				Volume: e.ref("volume"), Disk: &driverpb.Disk{Protocol: "file", Path: "/nowhere", Format: "raw"},
			}}
		})
	refuse(can.GetHotPlugNic(), "hot plug of nics", driverpb.Hypervisor_AttachNic_FullMethodName,
		func(e *env, g guest) stepRequest {
			return &driverpb.NicRequest{Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), Nic: &driverpb.MachineNic{
				Nic: e.ref("nic"), Mac: "02:00:00:00:00:01", Interface: "nowhere",
			}}
		})
	refuse(can.GetLiveMigration(), "live migration", driverpb.Hypervisor_SendMachine_FullMethodName,
		func(e *env, g guest) stepRequest {
			return &driverpb.SendMachineRequest{
				Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), Socket: "/nowhere",
			}
		})
	return all
}

func restartMachine(e *env) {
	g := e.running()
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_StopMachine_FullMethodName, e.cut(g))
	e.is(g, "absent")
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_StopMachine_FullMethodName, e.cut(g))
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_StartMachine_FullMethodName, e.start(g))
	e.is(g, "running")
}

func machineInvalid(e *env) {
	host := e.open("host")
	for _, spoil := range []func(*driverpb.MachineSpec){
		func(m *driverpb.MachineSpec) { m.Cpus = 0 },
		func(m *driverpb.MachineSpec) { m.MemoryBytes = 0 },
		func(m *driverpb.MachineSpec) { m.Firmware = "openboot" },
	} {
		g := e.planned(host)
		spoil(g.spec)
		fault := e.refused(driverpb.Class_CLASS_INVALID, driverpb.Hypervisor_StartMachine_FullMethodName, e.start(g))
		if fault.GetField() == "" {
			e.Errorf("fault %s names no field", fault.GetCode())
		}
		e.is(g, "absent")
	}
}

func statsAdvance(e *env) {
	g := e.running()
	before := e.stat(g).GetStats()
	e.eventually(e.harness.Limits.Cancel, "uptime and cpu time have gone on", func() bool {
		now := e.stat(g).GetStats()
		return now.GetUptimeMs() > before.GetUptimeMs() && now.GetCpuNs() > before.GetCpuNs() && now.GetMemoryBytes() > 0
	})
}

func machineSurvives(e *env) {
	g := e.running()
	e.eventually(e.harness.Limits.Cancel, "the machine has run for a while", func() bool {
		return e.stat(g).GetStats().GetUptimeMs() >= 50
	})
	before := e.stat(g).GetStats().GetUptimeMs()
	e.kill()
	e.restart()
	e.raise(2)
	must[*driverpb.OutcomeReply](e, driverpb.Base_Adopt_FullMethodName,
		&driverpb.AdoptRequest{Call: e.call(g.ref, g.host)})
	e.is(g, "running")
	if after := e.stat(g).GetStats().GetUptimeMs(); after < before {
		e.Errorf("it had run for %d ms before the kill and for %d ms after it: it was started again", before, after)
	}
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_StopMachine_FullMethodName, e.cut(g))
	e.is(g, "absent")
}

func observeMachines(e *env) {
	host := e.open("host")
	if all, err := e.observe(host); err != nil || len(all) != 0 {
		e.Fatalf("an empty host shows %v, %v", all, err)
	}
	var guests []guest
	for range 2 {
		g := e.planned(host)
		must[*driverpb.MachineReply](e, driverpb.Hypervisor_StartMachine_FullMethodName, e.start(g))
		guests = append(guests, g)
	}
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_StopMachine_FullMethodName, e.cut(guests[0]))
	for _, when := range []string{"while it runs", "after a restart"} {
		all, err := e.observe(host)
		if err != nil || len(all) != 1 || all[0].GetResource().GetId() != guests[1].ref.GetId() ||
			all[0].GetState() != "running" {
			e.Errorf("%s: %v, %v; want the second machine, running", when, all, err)
		}
		e.kill()
		e.restart()
	}
}

func stopGracefully(e *env) {
	g := e.running()
	time.Sleep(e.harness.Hypervisor.Boot) // the guest's time, which nothing announces
	request := e.cut(g)
	request.Force, request.GraceMs = false, uint32(e.harness.Limits.Cancel.Milliseconds())
	ignores := e.harness.Hypervisor.IgnoresPowerButton
	if ignores || e.harness.Hypervisor.UnknownGuest {
		request.GraceMs = 200
	}
	reply, err := e.try(driverpb.Hypervisor_StopMachine_FullMethodName, request)
	if e.harness.Hypervisor.UnknownGuest {
		ignores = e.stat(g).GetState() == "running"
	}
	if !ignores {
		if err != nil {
			e.Fatalf("a graceful stop: %v", err)
		}
		e.is(g, "absent")
		return
	}
	stopped, _ := reply.(*driverpb.MachineReply)
	if err == nil && stopped.GetState() != "running" {
		e.Errorf("the guest did not react, and the answer is %q; want a fault, or running", stopped.GetState())
	}
	e.is(g, "running")
	forced := e.cut(g)
	forced.GraceMs = 200
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_StopMachine_FullMethodName, forced)
	e.is(g, "absent")
}

func changeAbsent(e *env) {
	g := guest{host: e.open("host"), ref: e.ref("machine")}
	e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Hypervisor_RebootMachine_FullMethodName, e.cut(g))
	if e.describe().GetCapabilities().GetPause() {
		e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Hypervisor_PauseMachine_FullMethodName, e.machineRequest(g))
	}
}

func freezeThaw(e *env) {
	g := e.running()
	freeze := &driverpb.FreezeRequest{Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), MaxMs: 5000}
	if _, err := e.try(driverpb.Hypervisor_FreezeDisks_FullMethodName, freeze); err != nil {
		if class := faultOf(err).GetClass(); class != driverpb.Class_CLASS_UNSUPPORTED {
			e.Errorf("got %v, want success or UNSUPPORTED", err)
		}
		return
	}
	for range 2 {
		must[*driverpb.MachineReply](e, driverpb.Hypervisor_ThawDisks_FullMethodName, e.machineRequest(g))
	}
	e.is(g, "running")
}

func consolesOpen(e *env) {
	g := e.running()
	declared := e.describe().GetCapabilities().GetConsoles()
	for _, kind := range []string{"serial", "vnc", "semaphore"} {
		request := &driverpb.ConsoleRequest{Call: e.call(g.ref, g.host), Host: e.hostRef(g.host), Type: kind}
		if !slices.Contains(declared, kind) {
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, driverpb.Hypervisor_OpenConsole_FullMethodName, request)
			continue
		}
		reply := must[*driverpb.ConsoleReply](e, driverpb.Hypervisor_OpenConsole_FullMethodName, request)
		if reply.GetSocket() == "" || reply.GetProtocol() != map[string]string{"serial": "stream", "vnc": "rfb"}[kind] {
			e.Errorf("%s: %v", kind, reply)
		}
		if kind == "serial" && reply.GetLogPath() == "" {
			e.Error("the serial console has no log")
		}
	}
}
