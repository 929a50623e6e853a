package archive

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Protocols that programs speak which are run once per call.
const (
	// ProtocolJSON is ours: one document in, one out; docs/vendors/scripts.md.
	ProtocolJSON = "json"
	// ProtocolCloudStack is that of the orchestrator extensions of CloudStack 4.21 and later.
	ProtocolCloudStack = "cloudstack"
)

// ScriptRunner are the arguments with which this program runs scripts; the directory of the archive follows.
func ScriptRunner() []string { return []string{"driver-process", "script"} }

// Script says that the entry is a program that is run once per call. Without a protocol it is not.
type Script struct {
	// Protocol is json or cloudstack.
	Protocol string `yaml:"protocol"`
	// Actions that it serves; any other is refused without asking it.
	Actions []string `yaml:"actions"`
	// Exits are what its exit codes mean besides those that all have.
	Exits []Exit `yaml:"exits,omitempty"`
}

// Exit is an exit code and the class of the fault that it stands for.
type Exit struct {
	Code  uint32 `yaml:"code"`
	Class string `yaml:"class"`
}

// Actions lists what a script that serves categories may be asked for: the calls of the contract in lower case with
// dashes, those that all drivers have first.
func Actions(categories []string) []string {
	actions := []string{"configure", "probe", "adopt", "release", "observe"}
	for _, category := range categories {
		service := services()[category]
		if service == nil {
			continue
		}
		for i := range service.Methods().Len() {
			actions = append(actions, ActionOf(string(service.Methods().Get(i).Name())))
		}
	}
	return actions
}

// ActionOf is the action of a call of the contract: "open-pool" of "OpenPool".
func ActionOf(method string) string {
	var action strings.Builder
	for i, letter := range method {
		if unicode.IsUpper(letter) && i > 0 {
			action.WriteByte('-')
		}
		action.WriteRune(unicode.ToLower(letter))
	}
	return action.String()
}

func services() map[string]protoreflect.ServiceDescriptor {
	return map[string]protoreflect.ServiceDescriptor{
		"network":     driverpb.File_bulkhead_driver_v1_network_proto.Services().ByName("Networks"),
		"storage":     driverpb.File_bulkhead_driver_v1_storage_proto.Services().ByName("Storage"),
		"image":       driverpb.File_bulkhead_driver_v1_image_proto.Services().ByName("Images"),
		"hypervisor":  driverpb.File_bulkhead_driver_v1_hypervisor_proto.Services().ByName("Hypervisor"),
		"out-of-band": driverpb.File_bulkhead_driver_v1_outofband_proto.Services().ByName("OutOfBand"),
	}
}

// extensionActions are those of orchestrator extensions; without the needed ones nothing can be run.
func extensionActions() (all, needed []string) {
	return []string{"prepare", "create", "start", "stop", "reboot", "status", "delete"},
		[]string{"create", "start", "stop", "status"}
}

// minScriptMemory is what the program that runs scripts takes, and as much again for a script.
const minScriptMemory = 128 << 20

// script checks what is particular to programs that are run once per call.
func (c *checker) script(d *Declaration) {
	if d.Script.Protocol == "" {
		return
	}
	for platform, entry := range d.Entry {
		if len(entry.Arguments) > 0 {
			c.add("a script is started with the action as its first argument, and must not have others",
				"remove them, or put them into a file beside it", "entry", platform, "arguments")
		}
	}
	if d.Limits.Memory > 0 && d.Limits.Memory < minScriptMemory {
		c.add("it is too little for a script and what runs it", "want at least 128MiB", "limits", "memory")
	}
	seen := map[uint32]bool{}
	for i, exit := range d.Script.Exits {
		if seen[exit.Code] {
			c.add("this code is there twice", "remove one", "script", "exits", strconv.Itoa(i), "code")
		}
		seen[exit.Code] = true
	}
	known := Actions(d.Categories)
	if d.Script.Protocol == ProtocolCloudStack {
		known, _ = extensionActions()
		c.extension(d)
	} else {
		c.able(d)
	}
	for i, action := range d.Script.Actions {
		if !slices.Contains(known, action) {
			c.add(strconv.Quote(action)+" must be an action of its categories", "the actions are "+strings.Join(known, ", "),
				"script", "actions", strconv.Itoa(i))
		}
	}
}

// actionsOf are those that a capability is there by; none says that no program can have it which ends after each call.
func actionsOf() map[string][]string {
	return map[string][]string{
		"grow": {"grow-volume"}, "snapshots": {"create-snapshot", "revert-snapshot", "delete-snapshot"},
		"pause": {"pause-machine", "resume-machine"}, "hot_plug_disk": {"attach-disk", "detach-disk"},
		"hot_plug_nic": {"attach-nic", "detach-nic"}, "firewall": {"apply-rules"}, "port_forwards": {"apply-rules"},
		"live_migration": {}, "consoles": {},
	}
}

// able checks that there are actions for what is declared.
func (c *checker) able(d *Declaration) {
	for capability, needed := range actionsOf() {
		declared := d.Capabilities[capability]
		if list, isList := declared.([]any); declared == nil || declared == false || isList && len(list) == 0 {
			continue
		}
		if len(needed) == 0 {
			c.add("a script can't do this, which needs a process that lives on: it must not be declared", "remove it",
				"capabilities", capability)
		}
		for _, action := range needed {
			if !slices.Contains(d.Script.Actions, action) {
				c.add("the action "+action+" must be among them: the capability "+capability+" is declared",
					"add it, or do not declare that", "script", "actions")
			}
		}
	}
}

// extension checks that nothing is declared which extensions of CloudStack can't do.
func (c *checker) extension(d *Declaration) {
	if !slices.Equal(d.Categories, []string{"hypervisor"}) {
		c.add("an extension of CloudStack must be a hypervisor and nothing else", "want [hypervisor]", "categories")
	}
	if len(d.Script.Exits) > 0 {
		c.add("an extension of CloudStack must not have others than 0 for done", "remove them", "script", "exits")
	}
	_, needed := extensionActions()
	for _, action := range needed {
		if !slices.Contains(d.Script.Actions, action) {
			c.add("the action "+action+" must be among them", "add it", "script", "actions")
		}
	}
	for capability := range d.Capabilities {
		c.add("an extension of CloudStack can't do this: it must not be declared", "remove it", "capabilities", capability)
	}
}
