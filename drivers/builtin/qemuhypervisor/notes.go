package qemuhypervisor

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
)

const notesVersion = 1

// notes are what is written beside a machine: what was asked of it last and how far that came. They help to finish
// what another instance began; whether the machine runs, and with which devices, is asked of QEMU.
type notes struct {
	Version int    `json:"version"`
	Machine string `json:"machine"`
	// StartToken is the token of the call that started it.
	StartToken string    `json:"start_token"`
	Started    time.Time `json:"started"`
	// PID and StartTime are QEMU's, once it was launched.
	PID       int64  `json:"pid,omitempty"`
	StartTime uint64 `json:"start_time,omitempty"`

	Accelerator commandline.Accelerator `json:"accelerator"`
	CPUModel    string                  `json:"cpu_model,omitempty"`
	CPUs        uint32                  `json:"cpus"`
	MemoryBytes uint64                  `json:"memory_bytes"`
	DiskBus     commandline.Bus         `json:"disk_bus"`
	CDROMBus    commandline.Bus         `json:"cdrom_bus"`
	Direct      bool                    `json:"direct,omitempty"`
	// Interfaces are the taps of its nics, by nic id, those plugged in later included.
	Interfaces map[string]string `json:"interfaces,omitempty"`
	// Leaving are the devices that the guest was asked to let go of and that were not seen gone yet.
	Leaving []string `json:"leaving,omitempty"`

	// Paused by PauseMachine: thawing leaves it so.
	Paused bool `json:"paused,omitempty"`
	// FrozenUntil is set while the disks are frozen.
	FrozenUntil time.Time `json:"frozen_until,omitzero"`
	// Stopping is set before the machine is ended on request.
	Stopping bool `json:"stopping,omitempty"`
	// Receive is the token of the call that waits for the machine; empty once it has come.
	Receive string `json:"receive,omitempty"`
	// Move is set from when the machine was begun to be moved away, until that failed.
	Move *moveNotes `json:"move,omitempty"`
	// Reboot is the last one.
	Reboot *rebootNotes `json:"reboot,omitempty"`
}

// rebootNotes say how far the reboot with this token came.
type rebootNotes struct {
	Token string      `json:"token"`
	Stage rebootStage `json:"stage"`
}

// read returns nil when there are none.
func (d directory) read() (*notes, error) {
	var n notes
	err := record.Load(d.notes(), &n)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the machine's notes: %w", err)
	}
	if n.Version != notesVersion {
		return nil, fmt.Errorf("reading the machine's notes: version %d is not known", n.Version)
	}
	return &n, nil
}

// write replaces them, whole or not at all, durably.
func (d directory) write(n *notes) error {
	n.Version = notesVersion
	if err := record.Save(d.notes(), n); err != nil {
		return fmt.Errorf("writing the machine's notes: %w", err)
	}
	return nil
}
