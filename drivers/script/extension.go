package script

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// extension serves the hypervisor's calls with an orchestrator extension of CloudStack. A machine of it has disks and a
// definition of its own in the extension's backend: stopped it is still there, and only a stop at once and by force,
// with which machines are deleted, deletes it. Calls that extensions have no action for are refused.
type extension struct {
	hypervisor // refuses what is not served here
	configured
	program *program
	notes   notes
	actions []string
	version uint32
	label   string
	// scopes say where in a payload each setting belongs.
	scopes map[string]string
	// making is held by who makes a machine: what prepare answers is taken only when it is made.
	making chan struct{}
}

// extend makes driver serve an extension.
func extend(driver *sdk.Driver, declaration *archive.Declaration, p *program, dir string) error {
	e := &extension{
		hypervisor: hypervisor{s: &script{}}, making: make(chan struct{}, 1), program: p, notes: notes{dir: dir},
		actions: declaration.Script.Actions, version: declaration.Handles.Writes,
		label: declaration.Name + " " + declaration.Version, scopes: map[string]string{},
	}
	for _, property := range declaration.Properties {
		e.scopes[property.Key] = property.Scope
	}
	driver.Resources, driver.Hypervisor = e, e
	return e.notes.open()
}

// StartMachine implements driverpb.HypervisorServer.
func (e *extension) StartMachine(
	ctx context.Context, in *driverpb.StartMachineRequest,
) (*driverpb.MachineReply, error) {
	wanted, err := e.wanted(in)
	if err != nil {
		return nil, err
	}
	known, err := e.known(in.GetCall())
	if err != nil {
		return nil, err
	}
	switch {
	case known.Stage == stageNone:
		known, err = wanted, e.deploy(ctx, in.GetCall(), wanted)
	case known.sameShape(wanted):
		err = e.run(ctx, in.GetCall(), known)
	default:
		err = sdk.Conflict("machine-exists",
			fmt.Sprintf("machine %s is there with %d cpus and %d bytes of memory", wanted.ID, known.CPUs, known.MemoryBytes),
			"extensions change no machine that is there: delete it, or give it back the cpus and memory it had")
	}
	if err != nil {
		return nil, err
	}
	known.Stage, known.On = stageThere, true
	return e.reply(known, "running")
}

// deploy prepares and makes a machine, one at a time: an extension may tell two the same number until one is made.
func (e *extension) deploy(ctx context.Context, call *driverpb.Call, m *machine) error {
	select {
	case e.making <- struct{}{}:
		defer func() { <-e.making }()
	case <-ctx.Done():
		return sdk.Transient("extension-busy", "another machine was being made all the time; nothing was done")
	}
	if err := e.prepare(ctx, call, m); err != nil {
		return err
	}
	return e.create(ctx, call, m)
}

// prepare asks the extension for what it needs to know of a machine before it makes it. What it answers is noted before
// anything is made: it is how the machine is found again.
func (e *extension) prepare(ctx context.Context, call *driverpb.Call, m *machine) error {
	if slices.Contains(e.actions, "prepare") {
		answer, err := e.act(ctx, "prepare", call, m)
		if err != nil {
			return err
		}
		m.Patch = answer
	}
	m.Stage = stageMaking
	return e.notes.save(m)
}

// run starts a machine that is there and off, or makes one whose making was cut short.
func (e *extension) run(ctx context.Context, call *driverpb.Call, m *machine) error {
	power, err := e.power(ctx, call, m)
	switch {
	case m.Stage == stageMaking && err != nil: // a call that was cut short did not make it, as far as can be told
		return e.create(ctx, call, m)
	case err != nil || power == powerOn:
		return err
	}
	_, err = e.act(ctx, "start", call, m)
	return err
}

// create makes a machine, which may be there: by a call that was cut short.
func (e *extension) create(ctx context.Context, call *driverpb.Call, m *machine) error {
	_, err := e.act(ctx, "create", call, m)
	if refused(err) && !call.GetRepeat() {
		return errors.Join(err, e.notes.remove(m.ID)) // nothing was made; it is prepared anew
	}
	return err
}

// refused tells whether an extension came to its own end and said no.
func refused(err error) bool { return sdk.FaultOf(err).GetCode() == extensionFailed }

// StopMachine implements driverpb.HypervisorServer.
func (e *extension) StopMachine(
	ctx context.Context, in *driverpb.StopMachineRequest,
) (*driverpb.MachineReply, error) {
	m, err := e.known(in.GetCall())
	if err != nil {
		return nil, err
	}
	if m.Stage == stageNone {
		return &driverpb.MachineReply{Handle: &driverpb.Handle{}, State: "absent"}, nil
	}
	if _, err := e.act(ctx, "stop", in.GetCall(), m); err != nil && (m.Stage != stageMaking || !refused(err)) {
		return nil, err // what may never have been made need not be stopped
	}
	m.On = false
	deletes := in.GetForce() && in.GetGraceMs() == 0 && slices.Contains(e.actions, "delete")
	if !deletes {
		return e.reply(m, "stopped")
	}
	if _, err := e.act(ctx, "delete", in.GetCall(), m); err != nil {
		return nil, err
	}
	return &driverpb.MachineReply{Handle: &driverpb.Handle{}, State: "absent"}, e.notes.remove(m.ID)
}

// RebootMachine implements driverpb.HypervisorServer.
func (e *extension) RebootMachine(
	ctx context.Context, in *driverpb.StopMachineRequest,
) (*driverpb.MachineReply, error) {
	m, err := e.known(in.GetCall())
	if err != nil {
		return nil, err
	}
	if m.Stage != stageThere {
		return nil, sdk.NotFound("machine-missing", "machine "+m.ID+" is not there", "start it")
	}
	if !slices.Contains(e.actions, "reboot") {
		return nil, sdk.Unsupported("not-served", "this extension does not reboot machines")
	}
	if _, err := e.act(ctx, "reboot", in.GetCall(), m); err != nil {
		return nil, err
	}
	m.On = true
	return e.reply(m, "running")
}

// StatMachine implements driverpb.HypervisorServer.
func (e *extension) StatMachine(ctx context.Context, in *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	m, err := e.known(in.GetCall())
	if err != nil {
		return nil, err
	}
	if m.Stage == stageNone {
		return &driverpb.MachineReply{State: "absent"}, nil
	}
	power, err := e.power(ctx, in.GetCall(), m)
	if err != nil {
		return nil, err
	}
	return &driverpb.MachineReply{Handle: in.GetCall().GetHandle(), State: power}, nil
}

// reply notes a machine and answers with it.
func (e *extension) reply(m *machine, state string) (*driverpb.MachineReply, error) {
	handle, err := sdk.WriteHandle(e.version, m)
	if err == nil {
		err = e.notes.save(m)
	}
	return &driverpb.MachineReply{Handle: handle, State: state}, err
}

// known is what is known of a machine: by the engine, or by the notes when the engine has forgotten it, as it does with
// machines that are stopped.
func (e *extension) known(call *driverpb.Call) (*machine, error) {
	m := &machine{ID: call.GetResource().GetId()}
	if len(call.GetHandle().GetData()) > 0 {
		err := sdk.ReadHandle(call.GetHandle(), call.GetHandle().GetVersion(), m)
		m.ID = call.GetResource().GetId()
		return m, err
	}
	err := e.notes.load(m)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	return m, err
}

// Configure implements sdk.Resources.
func (e *extension) Configure(_ context.Context, properties map[string]any, secrets map[string]string) error {
	e.set(properties, secrets)
	return nil
}

// Probe implements sdk.Resources.
func (e *extension) Probe(context.Context, *driverpb.Call) (*driverpb.ProbeReply, error) {
	return e.program.ready(), nil
}

// Adopt implements sdk.Resources. What the engine knows of a machine is noted.
func (e *extension) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	if call.GetResource().GetKind() != "machine" {
		return call.GetHandle(), nil
	}
	m, err := e.known(call)
	if err != nil || m.Stage == stageNone {
		return call.GetHandle(), err
	}
	return call.GetHandle(), e.notes.save(m)
}

// Release implements sdk.Resources.
func (e *extension) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

// Observe implements sdk.Resources. Extensions can't list machines: those that are noted are asked for one by one.
func (e *extension) Observe(ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error {
	if err := opened(call.GetHandle()); err != nil {
		return err
	}
	all, err := e.notes.all()
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Host != call.GetResource().GetId() {
			continue
		}
		power, err := e.power(ctx, call, m)
		if err != nil {
			e.program.log.WarnContext(ctx, "power of a machine is not known", slog.String("machine", m.ID))
			power = "unknown"
		}
		if err := found(&driverpb.Observed{
			Resource: &driverpb.Ref{Kind: "machine", Id: m.ID}, Name: m.ID, Bytes: m.MemoryBytes, State: power,
		}); err != nil {
			return err
		}
	}
	return nil
}
