package qemuhypervisor

import (
	"fmt"
	"regexp"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Keys of the driver's properties.
const (
	keyConsoleLogBytes = "console_log_bytes"
	keyUnplugSeconds   = "unplug_seconds"
	keyAccelerator     = "accelerator"
	keyForeign         = "observe_foreign"
	keyMachineType     = "machine_type"
	keyCPUModel        = "cpu_model"
	keyDiskBus         = "disk_bus"
	keyCDROMBus        = "cdrom_bus"
	keyDiskCache       = "disk_cache"
)

const (
	acceleratorAuto = "auto"
	cacheDirect     = "direct"

	defaultConsoleLogBytes = 1 << 20
	minConsoleLogBytes     = 64 << 10
	maxConsoleLogBytes     = 64 << 20
	defaultUnplugSeconds   = 30
	maxUnplugSeconds       = 600
	patternMachineType     = `q35|pc-q35-[0-9]{1,2}\.[0-9]{1,2}`
	patternCPUModel        = `[A-Za-z0-9][A-Za-z0-9._-]{0,63}(,[+-]?[A-Za-z0-9][A-Za-z0-9._-]{0,31}(=on|=off)?){0,16}`
)

// description is what Describe answers.
func description() *driverpb.DescribeReply {
	return &driverpb.DescribeReply{
		Properties: properties(),
		Capabilities: &driverpb.Capabilities{
			HotPlugDisk: true, HotPlugNic: true, LiveMigration: true, Pause: true, Consoles: []string{consoleSerial, consoleVNC},
			VolumeProtocols: []string{protocolFile}, MachineFormats: []string{formatRaw, formatQCOW2},
		},
	}
}

func properties() []*driverpb.Property {
	return []*driverpb.Property{
		number(keyConsoleLogBytes, "driver", "Console log", defaultConsoleLogBytes, minConsoleLogBytes,
			maxConsoleLogBytes, "Bytes of each machine's serial console that are kept."),
		number(keyUnplugSeconds, "driver", "Patience when unplugging", defaultUnplugSeconds, 1, maxUnplugSeconds,
			"Seconds a guest gets to let go of a disk or nic."),
		choice(keyAccelerator, "host", "Accelerator", acceleratorAuto,
			"What executes guests: kvm, tcg (slow emulation), or auto: kvm if it works, else tcg.",
			acceleratorAuto, string(commandline.KVM), string(commandline.TCG)),
		flag(keyForeign, "host", "Show foreign guests", true,
			"Whether QEMUs that others started are shown among the host's machines."),
		text(keyMachineType, "machine", "Machine type", "q35", patternMachineType,
			"The chipset, or a version of it, as QEMU calls it."),
		text(keyCPUModel, "machine", "Processor model", "", patternCPUModel,
			"As QEMU calls it; empty: the host's own with kvm, all features with tcg."),
		choice(keyDiskBus, "machine", "Disk bus", string(commandline.Virtio),
			"What disks are attached to. sata suits guests without other drivers, and can't be changed while they run.",
			string(commandline.Virtio), string(commandline.SCSI), string(commandline.SATA)),
		choice(keyCDROMBus, "machine", "CD-ROM bus", string(commandline.SCSI),
			"What CD-ROMs are attached to.", string(commandline.SCSI), string(commandline.SATA)),
		choice(keyDiskCache, "machine", "Disk cache", "writeback",
			"writeback uses the host's memory and is safe, since guests' flushes are obeyed; direct bypasses it.",
			"writeback", cacheDirect),
	}
}

func property(key, scope, label, description string, kind driverpb.Property_Type) *driverpb.Property {
	return &driverpb.Property{
		Key: key, Scope: scope, Type: kind, Label: label, Description: description,
		LabelKey: key + ".label", DescriptionKey: key + ".description",
	}
}

func number(key, scope, label string, value, low, high float64, description string) *driverpb.Property {
	p := property(key, scope, label, description, driverpb.Property_TYPE_NUMBER)
	p.Default, p.Min, p.Max = structpb.NewNumberValue(value), &low, &high
	return p
}

func text(key, scope, label, value, pattern, description string) *driverpb.Property {
	p := property(key, scope, label, description, driverpb.Property_TYPE_STRING)
	p.Pattern, p.MaxLength = pattern, 256
	if value != "" {
		p.Default = structpb.NewStringValue(value)
	}
	return p
}

func flag(key, scope, label string, value bool, description string) *driverpb.Property {
	p := property(key, scope, label, description, driverpb.Property_TYPE_BOOLEAN)
	p.Default = structpb.NewBoolValue(value)
	return p
}

func choice(key, scope, label, value, description string, values ...string) *driverpb.Property {
	p := property(key, scope, label, description, driverpb.Property_TYPE_STRING)
	p.Default = structpb.NewStringValue(value)
	for _, one := range values {
		p.Enum = append(p.Enum, structpb.NewStringValue(one))
		p.MaxLength = max(p.GetMaxLength(), uint32(len(one)))
	}
	return p
}

// settings are the properties of a call. The server validated them; they become arguments, so they are checked again.
type settings struct {
	accelerator string
	foreign     bool
	machineType string
	cpuModel    string
	diskBus     commandline.Bus
	cdromBus    commandline.Bus
	direct      bool
}

func settingsOf(call *driverpb.Call) (settings, error) {
	reader := propertyReader{values: call.GetProperties().AsMap()}
	s := settings{
		accelerator: reader.choice(keyAccelerator),
		foreign:     reader.flag(keyForeign),
		machineType: reader.text(keyMachineType),
		cpuModel:    reader.text(keyCPUModel),
		diskBus:     commandline.Bus(reader.choice(keyDiskBus)),
		cdromBus:    commandline.Bus(reader.choice(keyCDROMBus)),
		direct:      reader.choice(keyDiskCache) == cacheDirect,
	}
	return s, reader.failed
}

// propertyReader reads values by the declarations above and keeps the first failure.
type propertyReader struct {
	values map[string]any
	failed error
}

func (r *propertyReader) declared(key string) *driverpb.Property {
	for _, p := range properties() {
		if p.GetKey() == key {
			return p
		}
	}
	return &driverpb.Property{}
}

func (r *propertyReader) string(key string) string {
	value, present := r.values[key]
	if !present || value == nil {
		return r.declared(key).GetDefault().GetStringValue()
	}
	text, ok := value.(string)
	if !ok {
		r.fail(key, "want text")
	}
	return text
}

func (r *propertyReader) choice(key string) string {
	value := r.string(key)
	for _, one := range r.declared(key).GetEnum() {
		if one.GetStringValue() == value {
			return value
		}
	}
	r.fail(key, "want one of the values it lists")
	return value
}

func (r *propertyReader) text(key string) string {
	value := r.string(key)
	matched, err := regexp.MatchString(`^(?:`+r.declared(key).GetPattern()+`)$`, value)
	if value != "" && (err != nil || !matched) {
		r.fail(key, "want text like "+r.declared(key).GetPattern())
	}
	return value
}

func (r *propertyReader) flag(key string) bool {
	value, present := r.values[key]
	if !present || value == nil {
		return r.declared(key).GetDefault().GetBoolValue()
	}
	set, ok := value.(bool)
	if !ok {
		r.fail(key, "want true or false")
	}
	return set
}

func (r *propertyReader) number(key string) int64 {
	declared := r.declared(key)
	value, present := r.values[key]
	if !present || value == nil {
		return int64(declared.GetDefault().GetNumberValue())
	}
	number, ok := value.(float64)
	if !ok || number < declared.GetMin() || number > declared.GetMax() {
		r.fail(key, fmt.Sprintf("want a number from %.0f to %.0f", declared.GetMin(), declared.GetMax()))
	}
	return int64(number)
}

func (r *propertyReader) fail(key, message string) {
	if r.failed == nil {
		r.failed = sdk.Invalid("property-invalid", "/properties/"+key, message, "correct the property "+key)
	}
}
