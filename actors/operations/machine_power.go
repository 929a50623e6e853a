package operations

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	defaultGrace   = 60 * time.Second
	cdromBootOrder = 9
	maxSerial      = 20
)

// hypervisor connects to the driver of the machine's host.
func (c *Context) hypervisor(ctx context.Context) (
	m *resources.Machine, client driverpb.HypervisorClient, d driver, host *driverpb.HostRef, err error,
) {
	if m, err = Target[*resources.Machine](c); err != nil {
		return nil, nil, driver{}, nil, err
	}
	if move := m.Status.Moving; move != nil && string(move.OperationID) != c.Operation.ID {
		return nil, nil, driver{}, nil, onItsWay(m)
	}
	client, d, host, err = c.hypervisorOf(ctx, m, m.Status.HostID)
	return m, client, d, host, err
}

// hypervisorOf connects to the driver of a host for calls about the machine.
func (c *Context) hypervisorOf(ctx context.Context, m *resources.Machine, id resources.HostID) (
	client driverpb.HypervisorClient, d driver, host *driverpb.HostRef, err error,
) {
	h, err := Find[*resources.Host](c, resources.KindHost, string(id))
	if err != nil {
		return nil, driver{}, nil, err
	}
	handle, err := c.handle(h.Ref())
	if err != nil {
		return nil, driver{}, nil, err
	}
	d, err = c.driver(ctx, h, m.Ref(), m)
	if err != nil {
		return nil, driver{}, nil, err
	}
	return driverpb.NewHypervisorClient(d.conn), d, &driverpb.HostRef{Resource: protoRef(h.Ref()), Handle: handle}, nil
}

// fenced reports whether there is proof that a host does not run.
func (c *Context) fenced(id resources.HostID) bool {
	h, err := Find[*resources.Host](c, resources.KindHost, string(id))
	return err == nil && h.Fenced()
}

// replied takes over what a driver says of a machine after a call.
func (c *Context) replied(d driver, reply *driverpb.MachineReply, err error) error {
	if err != nil {
		return FromFault(err)
	}
	if reply.GetHandle() != nil {
		c.bind(d, reply.GetHandle())
	}
	return nil
}

func startMachine(ctx context.Context, c *Context) error {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil {
		return err
	}
	spec, err := c.machineSpec(m)
	if err != nil {
		return err
	}
	reply, err := client.StartMachine(ctx, &driverpb.StartMachineRequest{Call: d.call, Host: host, Machine: spec})
	if err := c.replied(d, reply, err); err != nil {
		return err
	}
	now := c.Engine.Now()
	Change(c, func(m *resources.Machine) { m.Status.StartedAt, m.Status.Ended, m.Reason = now, "", "" })
	return nil
}

// machineSpec is the machine as its hypervisor hears of it: with disks, nics and
// first-boot data in their present form.
func (c *Context) machineSpec(m *resources.Machine) (*driverpb.MachineSpec, error) {
	s := &driverpb.MachineSpec{Name: m.Name, Cpus: m.Spec.CPUs, MemoryBytes: m.Spec.MemoryBytes, Firmware: m.Spec.Firmware}
	for i, id := range volumesOf(m) {
		disk, err := c.machineDisk(id, uint32(i+1))
		if err != nil {
			return nil, err
		}
		s.Disks = append(s.Disks, disk)
	}
	for _, id := range m.Status.NicIDs {
		nic, namespace, err := c.machineNic(id)
		if err != nil {
			return nil, err
		}
		s.Nics, s.NetNamespace = append(s.Nics, nic), namespace
	}
	if m.Spec.ISO != "" {
		t, err := Find[*resources.Template](c, resources.KindTemplate, string(m.Spec.ISO))
		if err != nil {
			return nil, err
		}
		s.Disks = append(s.Disks, &driverpb.MachineDisk{
			Volume: protoRef(t.Ref()), Device: "cdrom", BootOrder: cdromBootOrder,
			Disk: &driverpb.Disk{Protocol: "file", Path: t.Status.Path, Format: "raw", ReadOnly: true},
		})
	}
	s.CloudInit = cloudInit(m)
	return s, nil
}

func cloudInit(m *resources.Machine) *driverpb.CloudInit {
	ci := &driverpb.CloudInit{
		MetaData: fmt.Sprintf("instance-id: %s\nlocal-hostname: %s\n", m.ID, m.Name),
		UserData: "#cloud-config\n{}\n",
	}
	if given := m.Spec.CloudInit; given != nil {
		if given.UserData != "" {
			ci.UserData = given.UserData
		}
		ci.NetworkConfig = given.NetworkConfig
	}
	return ci
}

func (c *Context) machineDisk(id resources.VolumeID, bootOrder uint32) (*driverpb.MachineDisk, error) {
	vol, err := Find[*resources.Volume](c, resources.KindVolume, string(id))
	if err != nil {
		return nil, err
	}
	if vol.Status.Disk == nil {
		return nil, notReady(vol)
	}
	return &driverpb.MachineDisk{
		Volume: protoRef(vol.Ref()), Device: "disk", BootOrder: bootOrder, Serial: serial(vol.ID),
		Disk: &driverpb.Disk{
			Protocol: vol.Status.Disk.Protocol, Path: vol.Status.Disk.Path, Format: vol.Status.Disk.Format,
			ReadOnly: vol.Status.Disk.ReadOnly,
		},
	}, nil
}

// serial is the end of the id: its random part, which tells disks apart.
func serial(id string) string {
	if len(id) > maxSerial {
		return id[len(id)-maxSerial:]
	}
	return id
}

func (c *Context) machineNic(id resources.NicID) (nic *driverpb.MachineNic, namespace string, err error) {
	n, err := Find[*resources.Nic](c, resources.KindNic, string(id))
	if err != nil {
		return nil, "", err
	}
	network, err := Find[*resources.Network](c, resources.KindNetwork, string(n.Spec.NetworkID))
	if err != nil {
		return nil, "", err
	}
	return &driverpb.MachineNic{
		Nic: protoRef(n.Ref()), Mac: n.Status.MAC, Interface: n.Status.Interface, Mtu: networkSpec(network).GetMtu(),
	}, n.Status.NetNamespace, nil
}

func stopMachine(ctx context.Context, c *Context) error {
	grace := time.Duration(c.Operation.Arguments.GraceSeconds) * time.Second
	if grace == 0 {
		grace = defaultGrace
	}
	return c.stop(ctx, grace, c.Operation.Arguments.Force)
}

// cutPower stops the machine whatever the guest does. One that was never placed
// or is gone is stopped.
func cutPower(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil || m.Status.HostID == "" {
		return err
	}
	return gone(c.stop(ctx, 0, true))
}

// looks bounds how often a machine is looked at whose stop is given up, and lookTimeout for how long each time: half a
// minute in all if its driver hangs.
const (
	looks       = 4
	lookTimeout = 5 * time.Second
)

// lookAtPower is how a stop is taken back: a guest that has ended by now is not
// started again, but the machine is off. While its driver does not answer it is as
// it was: the host is looked at on and on, and nobody is to wait for that here.
func lookAtPower(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil || m.Status.HostID == "" || !wasOn(c.Operation) {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := c.settledPower(soon)
	if err != nil && (ctx.Err() != nil || c.step().Attempts < looks) {
		return err
	}
	now := c.Engine.Now()
	switch {
	case found == resources.PhaseStopped:
		Change(c, func(m *resources.Machine) { m.Status.StartedAt = time.Time{} })
	case found != "" && m.Status.StartedAt.IsZero(): // it was found running once, before that was noted
		Change(c, func(m *resources.Machine) { m.Status.StartedAt = now })
	}
	return nil
}

// settledPower is how the machine is once its driver has ended what it was at: a stop that nobody waits for any more
// may take effect still. Adopt waits for that, questions do not.
func (c *Context) settledPower(ctx context.Context) (phase resources.Phase, err error) {
	_, _, d, _, err := c.hypervisor(ctx)
	if err != nil {
		return "", err
	}
	switch err = c.adopt(ctx, d); {
	case resources.ClassOf(err) == resources.ClassNotFound:
		return resources.PhaseStopped, nil
	case err != nil:
		return "", err
	}
	phase, _, err = c.statMachine(ctx)
	return phase, err
}

func (c *Context) stop(ctx context.Context, grace time.Duration, force bool) error {
	_, client, d, host, err := c.hypervisor(ctx)
	if err != nil {
		return err
	}
	reply, err := client.StopMachine(ctx, &driverpb.StopMachineRequest{
		Call: d.call, Host: host, GraceMs: uint32(grace.Milliseconds()), Force: force,
	})
	if err := c.replied(d, reply, err); err != nil {
		return err
	}
	c.unbind()
	Change(c, func(m *resources.Machine) { m.Status.StartedAt = time.Time{} })
	return nil
}

func rebootMachine(ctx context.Context, c *Context) error {
	_, client, d, host, err := c.hypervisor(ctx)
	if err != nil {
		return err
	}
	grace := time.Duration(c.Operation.Arguments.GraceSeconds) * time.Second
	reply, err := client.RebootMachine(ctx, &driverpb.StopMachineRequest{
		Call: d.call, Host: host, GraceMs: uint32(grace.Milliseconds()), Force: c.Operation.Arguments.Force || grace == 0,
	})
	return c.replied(d, reply, err)
}

func pauseMachine(ctx context.Context, c *Context) error {
	_, client, d, host, err := c.hypervisor(ctx)
	if err != nil {
		return err
	}
	reply, err := client.PauseMachine(ctx, &driverpb.MachineRequest{Call: d.call, Host: host})
	return c.replied(d, reply, err)
}

func resumeMachine(ctx context.Context, c *Context) error {
	_, client, d, host, err := c.hypervisor(ctx)
	if err != nil {
		return err
	}
	reply, err := client.ResumeMachine(ctx, &driverpb.MachineRequest{Call: d.call, Host: host})
	return c.replied(d, reply, err)
}

// isOn reports whether the machine was started, so that a change to it must be
// made in the running guest too.
func isOn(m *resources.Machine) bool { return !m.Status.StartedAt.IsZero() }

func plugDisk(ctx context.Context, c *Context) error {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil || !isOn(m) {
		return err
	}
	disk, err := c.machineDisk(c.Operation.Arguments.VolumeID, 0)
	if err != nil {
		return err
	}
	reply, err := client.AttachDisk(ctx, &driverpb.DiskRequest{Call: d.call, Host: host, Disk: disk})
	return c.replied(d, reply, err)
}

func unplugDisk(ctx context.Context, c *Context) error {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil || !isOn(m) {
		return err
	}
	disk, err := c.machineDisk(c.Operation.Arguments.VolumeID, 0)
	if err != nil {
		return err
	}
	reply, err := client.DetachDisk(ctx, &driverpb.DiskRequest{Call: d.call, Host: host, Disk: disk})
	return gone(c.replied(d, reply, err))
}

func growDisk(ctx context.Context, c *Context) error {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil || !isOn(m) {
		return err
	}
	disk, err := c.machineDisk(c.Operation.Arguments.VolumeID, 0)
	if err != nil {
		return err
	}
	reply, err := client.GrowDisk(ctx, &driverpb.GrowDiskRequest{
		Call: d.call, Host: host, Disk: disk, SizeBytes: c.Operation.Arguments.SizeBytes,
	})
	return c.replied(d, reply, err)
}

// plugAddedNic shows the nic that an earlier step made to the running guest.
func plugAddedNic(ctx context.Context, c *Context) error {
	return c.plugAdded(ctx, c.plug)
}

func unplugAddedNic(ctx context.Context, c *Context) error {
	return c.plugAdded(ctx, c.unplug)
}

func (c *Context) plugAdded(ctx context.Context, do func(context.Context, resources.NicID) error) error {
	m, err := Target[*resources.Machine](c)
	if err != nil || len(m.Status.NicIDs) == 0 {
		return err
	}
	return do(ctx, m.Status.NicIDs[len(m.Status.NicIDs)-1])
}

func plugNic(ctx context.Context, c *Context) error { return c.plug(ctx, c.Operation.Arguments.NicID) }

func unplugNic(ctx context.Context, c *Context) error {
	return c.unplug(ctx, c.Operation.Arguments.NicID)
}

func (c *Context) plug(ctx context.Context, id resources.NicID) error {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil || !isOn(m) {
		return err
	}
	nic, _, err := c.machineNic(id)
	if c.Undoing && resources.ClassOf(err) == resources.ClassNotFound {
		return nil // it was deleted meanwhile: there is nothing to plug in again
	}
	if err != nil {
		return err
	}
	reply, err := client.AttachNic(ctx, &driverpb.NicRequest{Call: d.call, Host: host, Nic: nic})
	return c.replied(d, reply, err)
}

func (c *Context) unplug(ctx context.Context, id resources.NicID) error {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil || !isOn(m) {
		return err
	}
	nic, _, err := c.machineNic(id)
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	reply, err := client.DetachNic(ctx, &driverpb.NicRequest{Call: d.call, Host: host, Nic: nic})
	return gone(c.replied(d, reply, err))
}

// ConsoleSocket returns the unix socket on the host that a running machine's
// console is reached by, in the words of the driver it names.
func ConsoleSocket(ctx context.Context, c *Context, kind string) (place Place, socket string, err error) {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil {
		return Place{}, "", err
	}
	if m.Phase != resources.PhaseRunning && m.Phase != resources.PhasePaused && m.Phase != resources.PhaseUpdating {
		return Place{}, "", &resources.Error{
			Class: resources.ClassConflict, Code: "not-running",
			Message: fmt.Sprintf("machine %s is %s", m.ID, m.Phase), Remedy: "start it first",
		}
	}
	reply, err := client.OpenConsole(ctx, &driverpb.ConsoleRequest{Call: d.call, Host: host, Type: kind})
	if err != nil {
		return Place{}, "", FromFault(err)
	}
	if reply.GetSocket() == "" {
		return Place{}, "", &resources.Error{
			Class: resources.ClassUnavailable, Code: "no-console",
			Message: fmt.Sprintf("the %s console of machine %s can't be reached now", kind, m.ID),
		}
	}
	return d.place, reply.GetSocket(), nil
}
