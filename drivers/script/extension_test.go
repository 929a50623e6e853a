package script_test

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// extensionFlag names another extension for Proxmox VE than ours, to see that it runs unchanged.
//
//nolint:gochecknoglobals // it is a flag
var extensionFlag = flag.String("extension", filepath.Join("testdata", "extension.py"),
	"extension of CloudStack for Proxmox VE that the tests run")

const extensionDeclaration = `apiVersion: bulkhead.dev/v1
kind: driver
name: example/proxmox
version: 1.0.0
description: Machines on Proxmox VE.
categories: [hypervisor]
license: Apache-2.0
author: Example
contract: {min: 1, max: 1}
entry: {any: {command: code/driver}}
handles: {reads: [1], writes: 1}
script: {protocol: cloudstack, actions: [prepare, create, start, stop, reboot, status, delete]}
properties:
  - {key: url, type: string, scope: host, label: Address, description: Address.}
  - {key: user, type: string, scope: host, label: User, description: User.}
  - {key: token, type: string, scope: host, label: Token, description: Token.}
  - {key: secret, type: string, scope: host, label: Secret, description: Secret., secret: true}
  - {key: node, type: string, scope: host, label: Node, description: Node.}
  - {key: network_bridge, type: string, scope: host, label: Bridge, description: Bridge.}
  - {key: verify_tls_certificate, type: boolean, scope: host, label: Verify, description: Whether it is verified.}
  - {key: cpus, type: number, scope: host, label: CPUs, description: CPUs of the host.}
  - {key: memoryMiB, type: number, scope: host, label: Memory, description: Memory of the host.}
  - {key: template_id, type: string, scope: machine, label: Template, description: Template.}
  - {key: vlan, type: number, scope: machine, label: VLAN, description: VLAN of the nics.}
`

// proxmox is an extension, served, and what it manages.
type proxmox struct {
	served
	client driverpb.HypervisorClient
	pve    *pve
	host   *driverpb.HostRef
	secret string
}

func serveProxmox(t *testing.T) *proxmox {
	t.Helper()
	text, err := os.ReadFile(*extensionFlag)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxmox{served: serve(t, written(t, extensionDeclaration, string(text))), pve: newPVE(t)}
	p.client, p.secret = driverpb.NewHypervisorClient(p.conn), "a secret that nobody tells"
	p.host = &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: "host-1"}}
	in := &driverpb.HostCallRequest{Call: p.call(t, "op/open")}
	in.Call.Resource = p.host.GetResource()
	reply, err := p.client.OpenHost(soon(t), in)
	if err != nil {
		t.Fatal(err)
	}
	if reply.GetCpus() != 32 || reply.GetMemoryBytes() != 64<<30 || reply.GetArchitecture() != "x86_64" ||
		reply.GetAccelerator() == "" {
		t.Errorf("the host is %v", reply)
	}
	p.host.Handle = reply.GetHandle()
	return p
}

func (p *proxmox) call(t *testing.T, token string) *driverpb.Call {
	t.Helper()
	return &driverpb.Call{
		Token: token, Epoch: 1, Resource: &driverpb.Ref{Kind: "machine", Id: "machine-1"},
		Properties: structOf(t, map[string]any{
			"url": strings.TrimPrefix(p.pve.server.URL, "https://") + "/pve", "user": "root@pam", "token": "kit",
			"node": "pve", "network_bridge": "vmbr0", "verify_tls_certificate": false, "cpus": 32, "memoryMiB": 65536,
			"template_id": "9000", "vlan": 100,
		}),
		Secrets: map[string]string{"secret": p.secret},
	}
}

func (p *proxmox) start(t *testing.T, token string, handle *driverpb.Handle) *driverpb.StartMachineRequest {
	t.Helper()
	in := &driverpb.StartMachineRequest{Call: p.call(t, token), Host: p.host, Machine: &driverpb.MachineSpec{
		Name: "Web server", Cpus: 2, MemoryBytes: 1 << 30,
		Nics: []*driverpb.MachineNic{{Nic: &driverpb.Ref{Kind: "nic", Id: "nic-1"}, Mac: "02:00:00:00:00:01"}},
	}}
	in.Call.Handle = handle
	return in
}

func (p *proxmox) stop(t *testing.T, token string, handle *driverpb.Handle, grace uint32) *driverpb.StopMachineRequest {
	t.Helper()
	in := &driverpb.StopMachineRequest{Call: p.call(t, token), Host: p.host, Force: true, GraceMs: grace}
	in.Call.Handle = handle
	return in
}

// is checks the state of the machine, what the backend was asked since the last time, and how many guests there are.
func (p *proxmox) is(t *testing.T, state string, handle *driverpb.Handle, asked string, guests int) {
	t.Helper()
	in := &driverpb.MachineRequest{Call: p.call(t, ""), Host: p.host}
	in.Call.Handle = handle
	reply, err := p.client.StatMachine(soon(t), in)
	if err != nil || reply.GetState() != state {
		t.Errorf("it is %v, %v, want %s", reply, err, state)
	}
	if got, there := p.pve.seen(); got != asked || len(there) != guests {
		t.Errorf("the backend was asked %s and has %v, want %s and %d", got, there, asked, guests)
	}
}

func TestExtensionRunsAMachine(t *testing.T) {
	t.Parallel()
	p := serveProxmox(t)
	p.is(t, "absent", nil, "", 0)
	made, err := p.client.StartMachine(soon(t), p.start(t, "op/1", nil))
	if err != nil || made.GetState() != "running" {
		t.Fatalf("made %v, %v", made, err)
	}
	_, guests := p.pve.seen()
	nic := guests[0]["net0"]
	if guests[0]["name"] != "machine-1" || guests[0]["cores"] != "2" || guests[0]["memory"] != "1024" ||
		!strings.Contains(nic, "virtio=02:00:00:00:00:01,bridge=vmbr0,tag=100") {
		t.Errorf("the guest is %v", guests)
	}
	handle := made.GetHandle()
	if strings.Contains(string(handle.GetData()), p.secret) {
		t.Errorf("the handle is %s", handle.GetData())
	}
	p.is(t, "running", handle, "", 1)
	if _, err := p.client.StartMachine(soon(t), p.start(t, "op/2", handle)); err != nil {
		t.Error(err)
	}
	p.is(t, "running", handle, "", 1)
	if _, err := p.client.RebootMachine(soon(t), p.stop(t, "op/3", handle, 1000)); err != nil {
		t.Error(err)
	}
	p.is(t, "running", handle, "reboot", 1)
	closing := &driverpb.HostCallRequest{Call: p.call(t, "op/4")}
	closing.Call.Resource = p.host.GetResource()
	_, err = p.client.CloseHost(soon(t), closing)
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "not-empty", "machine-1")
	stopped, err := p.client.StopMachine(soon(t), p.stop(t, "op/5", handle, 60000))
	if err != nil || stopped.GetState() != "stopped" {
		t.Errorf("stopped %v, %v", stopped, err)
	}
	// The engine forgets the handles of stopped machines.
	p.is(t, "stopped", nil, "stop", 1)
	again, err := p.client.StartMachine(soon(t), p.start(t, "op/6", nil))
	if err != nil || !proto.Equal(again.GetHandle(), handle) {
		t.Errorf("started %v, %v, want the handle %v", again, err, handle)
	}
	p.is(t, "running", nil, "start", 1)
	for _, token := range []string{"op/7", "op/8"} {
		gone, err := p.client.StopMachine(soon(t), p.stop(t, token, nil, 0))
		if err != nil || gone.GetState() != "absent" || len(gone.GetHandle().GetData()) > 0 {
			t.Errorf("deleted %v, %v", gone, err)
		}
	}
	p.is(t, "absent", nil, "stop", 0)
	if said := p.log.String(); strings.Contains(said, p.secret) {
		t.Errorf("logged is %s", said)
	}
	closing.Call.Token = "op/9"
	if _, err := p.client.CloseHost(soon(t), closing); err != nil {
		t.Error(err)
	}
}

// TestExtensionThatIsCutShort: the answer of create is lost, with what the extension would have done after it.
func TestExtensionThatIsCutShort(t *testing.T) {
	t.Parallel()
	p := serveProxmox(t)
	hang := p.pve.hangOnce()
	ctx, cancel := context.WithCancel(t.Context())
	lost := make(chan error, 1)
	request := p.start(t, "op/1", nil)
	go func() {
		_, err := p.client.StartMachine(ctx, request)
		lost <- err
	}()
	eventually(t, "the machine is there", func() bool {
		p.pve.mutex.Lock()
		defer p.pve.mutex.Unlock()
		return len(p.pve.guests) == 1
	})
	cancel()
	if err := <-lost; err == nil {
		t.Fatal("it was not cut short")
	}
	eventually(t, "the extension is gone", func() bool {
		left, err := filepath.Glob(filepath.Join(p.work, "calls", "*", "*"))
		return err == nil && len(left) == 0
	})
	close(hang)
	p.pve.seen()
	request.Call.Repeat = true
	if _, err := p.client.StartMachine(soon(t), request); err != nil {
		t.Fatal(err)
	}
	p.is(t, "running", nil, "start", 1)
}

func TestExtensionThatFails(t *testing.T) {
	t.Parallel()
	p := serveProxmox(t)
	wrong := p.start(t, "op/1", nil)
	wrong.Call.Properties.Fields["template_id"] = structOf(t, map[string]any{"x": "1"}).GetFields()["x"]
	_, err := p.client.StartMachine(soon(t), wrong)
	refused(t, err, driverpb.Class_CLASS_INTERNAL, "extension-failed", "create failed: ")
	// What was prepared is not kept: the number that was to be the machine's may be another's by now.
	if _, err := os.Stat(filepath.Join(p.work, "machines", "machine-1.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a note: %v", err)
	}
	p.is(t, "absent", nil, "clone 1", 0)
	made, err := p.client.StartMachine(soon(t), p.start(t, "op/2", nil))
	if err != nil {
		t.Fatal(err)
	}
	other := p.start(t, "op/3", made.GetHandle())
	other.Machine.Cpus = 3
	_, err = p.client.StartMachine(soon(t), other)
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "machine-exists", "2 cpus")
}

// TestExtensionMakesOneAtATime: it tells the same free number to all who ask before one of them has taken it.
func TestExtensionMakesOneAtATime(t *testing.T) {
	t.Parallel()
	p := serveProxmox(t)
	const machines = 4
	outcomes := make(chan error, machines)
	for n := range machines {
		in := p.start(t, "op/"+strconv.Itoa(n), nil)
		in.Call.Resource.Id = "machine-" + strconv.Itoa(n)
		go func() {
			_, err := p.client.StartMachine(soon(t), in)
			outcomes <- err
		}()
	}
	for range machines {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
	if _, guests := p.pve.seen(); len(guests) != machines {
		t.Errorf("there are %v", guests)
	}
}

// TestExtensionsAreNotAskedForMore than they can do.
func TestExtensionsAreNotAskedForMore(t *testing.T) {
	t.Parallel()
	p := serveProxmox(t)
	for code, spoil := range map[string]func(in *driverpb.StartMachineRequest){
		"cpus-missing /cpus":          func(in *driverpb.StartMachineRequest) { in.Machine.Cpus = 0 },
		"memory-missing /memoryBytes": func(in *driverpb.StartMachineRequest) { in.Machine.MemoryBytes = 0 },
		"firmware-unknown /firmware":  func(in *driverpb.StartMachineRequest) { in.Machine.Firmware = "openboot" },
		"host-too-small ":             func(in *driverpb.StartMachineRequest) { in.Machine.MemoryBytes = 1 << 50 },
		"volumes-unsupported /volumes": func(in *driverpb.StartMachineRequest) {
			in.Machine.Disks = []*driverpb.MachineDisk{{Volume: &driverpb.Ref{Kind: "volume", Id: "vol-1"}}}
		},
		"nics-unsupported /nics": func(in *driverpb.StartMachineRequest) { delete(in.Call.Properties.Fields, "vlan") },
		"user-data-unsupported /cloudInit/userData": func(in *driverpb.StartMachineRequest) {
			in.Machine.CloudInit = &driverpb.CloudInit{UserData: "#cloud-config"}
		},
	} {
		in := p.start(t, "op/"+strings.Fields(code)[0], nil)
		spoil(in)
		_, err := p.client.StartMachine(soon(t), in)
		if fault := sdk.FaultOf(err); fault.GetCode()+" "+fault.GetField() != code {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	p.is(t, "absent", nil, "", 0)
	missing := p.stop(t, "op/reboot", nil, 0)
	_, err := p.client.RebootMachine(soon(t), missing)
	refused(t, err, driverpb.Class_CLASS_NOT_FOUND, "machine-missing", "machine-1")
	for name, ask := range map[string]func(ctx context.Context) error{
		"pause": func(ctx context.Context) error {
			_, err := p.client.PauseMachine(ctx, &driverpb.MachineRequest{Call: p.call(t, "op/pause"), Host: p.host})
			return err
		},
		"attach": func(ctx context.Context) error {
			_, err := p.client.AttachDisk(ctx, &driverpb.DiskRequest{Call: p.call(t, "op/attach"), Host: p.host})
			return err
		},
		"console": func(ctx context.Context) error {
			_, err := p.client.OpenConsole(ctx, &driverpb.ConsoleRequest{Call: p.call(t, ""), Host: p.host, Type: "vnc"})
			return err
		},
	} {
		refused(t, ask(soon(t)), driverpb.Class_CLASS_UNSUPPORTED, "not-served", name)
	}
}

func TestExtensionObservesAndAdopts(t *testing.T) {
	t.Parallel()
	p := serveProxmox(t)
	made, err := p.client.StartMachine(soon(t), p.start(t, "op/1", nil))
	if err != nil {
		t.Fatal(err)
	}
	observe := func(from served, host *driverpb.HostRef) map[string]string {
		about := p.call(t, "")
		about.Resource, about.Handle = host.GetResource(), host.GetHandle()
		stream, err := driverpb.NewBaseClient(from.conn).Observe(soon(t), &driverpb.ObserveRequest{Call: about})
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for one, err := stream.Recv(); err == nil; one, err = stream.Recv() {
			all[one.GetResource().GetId()] = one.GetState()
		}
		return all
	}
	if all := observe(p.served, p.host); !maps.Equal(all, map[string]string{"machine-1": "running"}) {
		t.Errorf("observed %v", all)
	}
	other := &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: "host-2"}, Handle: p.host.GetHandle()}
	if all := observe(p.served, other); len(all) > 0 {
		t.Errorf("observed on another host: %v", all)
	}
	// Another process, on another node, knows only what it is told.
	next := serveProxmox(t)
	next.pve = p.pve
	about := next.call(t, "op/adopt")
	about.Handle = made.GetHandle()
	if _, err := driverpb.NewBaseClient(next.conn).Adopt(soon(t), &driverpb.AdoptRequest{Call: about}); err != nil {
		t.Fatal(err)
	}
	if all := observe(next.served, next.host); !maps.Equal(all, map[string]string{"machine-1": "running"}) {
		t.Errorf("observed after it was adopted: %v", all)
	}
	p.pve.seen()
	next.is(t, "running", made.GetHandle(), "", 1)
}

// TestPayloadIsForNobodyElse looks at the payload while an extension has it.
func TestPayloadIsForNobodyElse(t *testing.T) {
	t.Parallel()
	dir := written(t, extensionDeclaration, `#!/bin/sh
case $1 in
prepare) echo '{"details": {"External:rack": "7", "vmid": 5}, "nics": null}';;
status) echo PowerOn;;
*) cd "$DRIVER_WORK_DIR"; stat -c '%a %n' "$2" > mode; cp "$2" payload; echo "$3" > wait;;
esac`)
	p := &proxmox{served: serve(t, dir), pve: newPVE(t), secret: "kept close"}
	p.client = driverpb.NewHypervisorClient(p.conn)
	p.host = &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: "host-1"}}
	if _, err := p.client.StartMachine(soon(t), p.start(t, "op/1", nil)); err != nil {
		t.Fatal(err)
	}
	mode, path, _ := strings.Cut(strings.TrimSpace(file(t, p.work, "mode")), " ")
	if _, err := os.Stat(path); mode != "600" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the payload has mode %s and is left: %v", mode, err)
	}
	if wait, err := time.ParseDuration(strings.TrimSpace(file(t, p.work, "wait")) + "s"); err != nil ||
		wait < 30*time.Second || wait > time.Minute {
		t.Errorf("it is told to take %v, %v", wait, err)
	}
	payload, _ := value(t, file(t, p.work, "payload")).(map[string]any)
	external, _ := payload["externaldetails"].(map[string]any)
	host, _ := external["host"].(map[string]any)
	guest, _ := external["virtualmachine"].(map[string]any)
	machine, _ := payload["cloudstack.vm.details"].(map[string]any)
	known, _ := machine["details"].(map[string]any)
	if host["secret"] != "kept close" || host["cpus"] != "32" || host["verify_tls_certificate"] != "false" ||
		guest["template_id"] != "9000" || guest["vlan"] != "100" || guest["rack"] != "7" || known["External:rack"] != "7" ||
		machine["name"] != "machine-1" || payload["virtualmachinename"] != "machine-1" || machine["nics"] != nil ||
		payload["virtualmachineid"] != machine["uuid"] {
		t.Errorf("the payload is %v", payload)
	}
	keys := slices.Sorted(maps.Keys(external))
	if !slices.Equal(keys, []string{"extension", "host", "resourcemap", "virtualmachine"}) {
		t.Errorf("the external details are %v", keys)
	}
}
