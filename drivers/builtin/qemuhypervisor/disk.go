package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// letGoLimit is what QEMU gets to let go of a disk that was unplugged, letGoEvery how often that is looked at.
	letGoLimit = 10 * time.Second
	letGoEvery = 20 * time.Millisecond
)

// blockNode is what QEMU says of a block node.
type blockNode struct {
	Name     string `json:"node-name"`
	File     string `json:"file"`
	ReadOnly bool   `json:"ro"`
	Image    struct {
		VirtualSize uint64 `json:"virtual-size"`
	} `json:"image"`
}

func blockNodes(ctx context.Context, monitor *qmp.Client) (nodes []blockNode, err error) {
	flat := map[string]bool{"flat": true}
	if err := execute(ctx, monitor, "query-named-block-nodes", flat, &nodes); err != nil {
		return nil, fmt.Errorf("listing disks: %w", err)
	}
	return nodes, nil
}

// findNode returns nil when there is no such node.
func findNode(ctx context.Context, monitor *qmp.Client, name string) (*blockNode, error) {
	nodes, err := blockNodes(ctx, monitor)
	for i := range nodes {
		if nodes[i].Name == name {
			return &nodes[i], nil
		}
	}
	return nil, err
}

// AttachDisk implements driverpb.HypervisorServer. QEMU gets the file opened: it needs no access to where it is.
func (h *Hypervisor) AttachDisk(ctx context.Context, request *driverpb.DiskRequest) (*driverpb.MachineReply, error) {
	asked := request.GetDisk()
	if err := checkDisk(asked); err != nil {
		return nil, err
	}
	return h.change(ctx, request.GetCall(), func(m *machine) error {
		disk := diskOf(asked, m.notes)
		if disk.Bus == commandline.SATA {
			return sdk.Unsupported("bus-not-hot-pluggable", "disks on sata can't be attached while the machine runs")
		}
		there, err := h.settled(ctx, m, commandline.DiskDevice(disk.Volume))
		if err != nil {
			return err
		}
		if there {
			return checkSame(ctx, m.monitor, &disk)
		}
		if err := plugDisk(ctx, m.monitor, &disk, asked); err != nil {
			return errors.Join(err, m.giveUp(ctx, commandline.DiskDevice(disk.Volume), func(ctx context.Context) error {
				return removeNodes(ctx, m.monitor, disk.Volume)
			}))
		}
		return nil
	})
}

// checkSame refuses to take a disk that is attached for another one.
func checkSame(ctx context.Context, monitor *qmp.Client, disk *commandline.Disk) error {
	node, err := findNode(ctx, monitor, commandline.DiskNode(disk.Volume))
	if err != nil {
		return err
	}
	path := ""
	if node != nil {
		if path, err = pathOf(ctx, monitor, node.File); err != nil {
			return err
		}
	}
	if node == nil || path != disk.Path || node.ReadOnly != disk.ReadOnly {
		return sdk.Conflict("attached-otherwise",
			fmt.Sprintf("%s is attached already, in another way (%s)", disk.Volume, path), "detach it first")
	}
	return nil
}

// pathOf says which file a node was opened from, also when QEMU was handed it opened.
func pathOf(ctx context.Context, monitor *qmp.Client, file string) (string, error) {
	var sets []struct {
		ID  int64 `json:"fdset-id"`
		FDs []struct {
			Opaque string `json:"opaque"`
		} `json:"fds"`
	}
	if err := execute(ctx, monitor, "query-fdsets", nil, &sets); err != nil {
		return "", fmt.Errorf("listing opened files: %w", err)
	}
	for _, set := range sets {
		if commandline.FDSet(set.ID) == file && len(set.FDs) > 0 {
			return set.FDs[0].Opaque, nil
		}
	}
	return file, nil
}

// plugDisk completes whatever part of an attachment is missing.
func plugDisk(ctx context.Context, monitor *qmp.Client, disk *commandline.Disk, asked *driverpb.MachineDisk) error {
	if err := removeNodes(ctx, monitor, disk.Volume); err != nil { // of an attempt that was cut short
		return err
	}
	file, err := openDisk(ctx, asked)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	bus := ""
	if disk.TakesPort() {
		if bus, err = freePort(ctx, monitor); err != nil {
			return err
		}
	}
	opened := *disk
	if opened.Path, err = handOver(ctx, monitor, file); err != nil {
		return err
	}
	if err := execute(ctx, monitor, "blockdev-add", opened.FileNode(), nil); err != nil {
		return refusalFault(fmt.Errorf("opening the disk: %w", err))
	}
	if err := execute(ctx, monitor, "blockdev-add", opened.FormatNode(), nil); err != nil {
		return refusalFault(fmt.Errorf("opening the disk: %w", err))
	}
	opened.BootOrder = 0 // decided when the machine started
	if err := execute(ctx, monitor, "device_add", opened.Device(bus), nil); err != nil {
		return refusalFault(fmt.Errorf("plugging the disk in: %w", err))
	}
	return nil
}

// handOver gives QEMU an open file and returns the path under which it finds it. QEMU drops it when nothing uses it
// and no monitor is connected.
func handOver(ctx context.Context, monitor *qmp.Client, file *os.File) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	var set struct {
		ID int64 `json:"fdset-id"`
	}
	note := map[string]string{"opaque": file.Name()}
	if err := endedFault("add-fd", monitor.ExecuteWithFile(ctx, file, "add-fd", note, &set)); err != nil {
		return "", fmt.Errorf("handing the disk over: %w", err)
	}
	return commandline.FDSet(set.ID), nil
}

// removeNodes closes a volume in QEMU. What is not there is no error. The file it was handed goes at once and not only
// when nobody listens any more: its lock would keep others from the volume.
func removeNodes(ctx context.Context, monitor *qmp.Client, volume string) error {
	opened, err := findNode(ctx, monitor, commandline.FileNode(volume))
	if err != nil {
		return err
	}
	for _, node := range []string{commandline.DiskNode(volume), commandline.FileNode(volume)} {
		if err := removeNode(ctx, monitor, node); err != nil {
			return refusalFault(fmt.Errorf("closing the disk: %w", err))
		}
	}
	if opened == nil {
		return nil
	}
	set, handed := commandline.FDSetID(opened.File)
	if !handed {
		return nil
	}
	err = execute(ctx, monitor, "remove-fd", map[string]int64{"fdset-id": set}, nil)
	if err != nil && !isMissing(err) {
		return fmt.Errorf("closing the disk's file: %w", err)
	}
	return nil
}

// removeNode waits a moment for a device that was just unplugged: QEMU lets go of its node a little later.
func removeNode(ctx context.Context, monitor *qmp.Client, node string) error {
	ctx, cancel := context.WithTimeout(ctx, letGoLimit)
	defer cancel()
	again := time.NewTicker(letGoEvery)
	defer again.Stop()
	for {
		err := execute(ctx, monitor, "blockdev-del", map[string]string{"node-name": node}, nil)
		if err == nil || isMissing(err) {
			return nil
		}
		if !isInUse(err) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// DetachDisk implements driverpb.HypervisorServer. A machine that does not run has no disks.
func (h *Hypervisor) DetachDisk(ctx context.Context, request *driverpb.DiskRequest) (*driverpb.MachineReply, error) {
	volume := request.GetDisk().GetVolume().GetId()
	if volume == "" {
		return nil, sdk.Invalid("volume-missing", fieldVolumes, "the disk has no volume", "")
	}
	return h.takeAway(ctx, request.GetCall(), func(m *machine) error {
		device := commandline.DiskDevice(volume)
		if m.notes.DiskBus == commandline.SATA || m.notes.CDROMBus == commandline.SATA {
			if err := refuseSATA(ctx, m.monitor, device); err != nil {
				return err
			}
		}
		if err := h.unplug(ctx, m, device); err != nil {
			return err
		}
		return removeNodes(ctx, m.monitor, volume)
	})
}

func refuseSATA(ctx context.Context, monitor *qmp.Client, device string) error {
	there, err := hasDevice(ctx, monitor, device)
	if err != nil || !there {
		return err
	}
	var kind string
	path := map[string]string{"path": peripherals + "/" + device, "property": "type"}
	if err := execute(ctx, monitor, "qom-get", path, &kind); err != nil {
		return fmt.Errorf("looking at the device: %w", err)
	}
	if kind == "ide-hd" || kind == "ide-cd" {
		return sdk.Unsupported("bus-not-hot-pluggable", "disks on sata can't be detached while the machine runs")
	}
	return nil
}

// takeAway is change for what a machine that does not run has not got anyway.
func (h *Hypervisor) takeAway(
	ctx context.Context, call *driverpb.Call, do func(m *machine) error,
) (*driverpb.MachineReply, error) {
	m, err := h.look(ctx, call.GetResource().GetId())
	if err != nil {
		return nil, err
	}
	if !m.running() {
		return m.reply()
	}
	return h.change(ctx, call, do)
}

// GrowDisk implements driverpb.HypervisorServer.
func (h *Hypervisor) GrowDisk(ctx context.Context, request *driverpb.GrowDiskRequest) (*driverpb.MachineReply, error) {
	volume, size := request.GetDisk().GetVolume().GetId(), request.GetSizeBytes()
	if size == 0 || size%sectorBytes != 0 {
		return nil, sdk.Invalid("size-invalid", "/sizeBytes", fmt.Sprintf("want a multiple of %d", sectorBytes), "")
	}
	return h.change(ctx, request.GetCall(), func(m *machine) error {
		node, err := findNode(ctx, m.monitor, commandline.DiskNode(volume))
		if err != nil {
			return err
		}
		if node == nil {
			return sdk.NotFound("disk-not-attached", fmt.Sprintf("%s is not attached to %s", volume, m.id), "")
		}
		if node.Image.VirtualSize >= size {
			return nil // never smaller
		}
		grow := map[string]any{"node-name": node.Name, "size": size}
		if err := execute(ctx, m.monitor, "block_resize", grow, nil); err != nil {
			return growFault(err)
		}
		return nil
	})
}

const sectorBytes = 512

func growFault(err error) error {
	refusal, ok := errors.AsType[*qmp.Error](err)
	if ok && noSpace.MatchString(refusal.Description) {
		return sdk.Exhausted("no-space", refusal.Description, "free space in the pool")
	}
	return refusalFault(fmt.Errorf("growing the disk: %w", err))
}
