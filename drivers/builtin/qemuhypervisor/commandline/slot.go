package commandline

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Where a device is, as QEMU's command line says it: "port3", "ide.1", or "scsi.0/5" for the target 5 of a SCSI bus.

// SlotOf says where a device is from what QEMU says of it: its bus, and its SCSI target.
func SlotOf(bus string, target int) string {
	if bus == scsiBus {
		return scsiBus + "/" + strconv.Itoa(target)
	}
	return bus
}

// slots gives each device a place: the one it had, or the first that nobody has.
type slots struct {
	had      map[string]string
	taken    []string
	exceeded bool
}

func newSlots(had map[string]string) *slots {
	return &slots{had: had, taken: slices.Collect(maps.Values(had))}
}

// of names the slot of a device on a bus.
func (s *slots) of(device string, bus Bus) string {
	if slot, ok := s.had[device]; ok {
		return slot
	}
	switch bus {
	case SCSI:
		return "" // QEMU finds one
	case SATA:
		return s.free("ide.%d", sataConnectors)
	case Virtio:
	}
	return s.free("port%d", Ports)
}

func (s *slots) free(name string, count int) string {
	for n := range count {
		slot := fmt.Sprintf(name, n)
		if !slices.Contains(s.taken, slot) {
			s.taken = append(s.taken, slot)
			return slot
		}
	}
	s.exceeded = true
	return ""
}

// targetOf is the SCSI target in a slot; nil when it names none.
func targetOf(slot string) *int {
	_, text, ok := strings.Cut(slot, "/")
	target, err := strconv.Atoi(text)
	if !ok || err != nil {
		return nil
	}
	return &target
}
