package qemuhypervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// logTail is how much of QEMU's last words is looked at and shown.
const logTail = 2048

// complaint is something QEMU says, and what it means.
type complaint struct {
	says *regexp.Regexp
	// fault gets what QEMU said, one line.
	fault func(said string) error
}

// complaints are tried in order.
func complaints() []complaint {
	conflict := func(code, remedy string) func(string) error {
		return func(said string) error { return sdk.Conflict(code, said, remedy) }
	}
	return []complaint{
		{
			regexp.MustCompile(`Failed to get "?(shared )?"?(write|consistent read)"? lock|[Ii]s another process using`),
			conflict("disk-in-use", "another process has the disk open: stop it"),
		},
		{regexp.MustCompile(`[Cc]annot set up guest memory|[Cc]annot allocate memory`), func(said string) error {
			return sdk.Exhausted("no-memory", said, "ask for less memory, or free some on the host")
		}},
		{regexp.MustCompile(`could not configure /dev/net/tun|could not open /dev/net/tun|tap`), func(said string) error {
			return sdk.NotFound("interface-unusable", said, "attach the nic to its network again")
		}},
		{regexp.MustCompile(`KVM|kvm`), func(said string) error {
			return sdk.Denied("kvm-unusable", said, "let the guests' user open /dev/kvm, or set the accelerator to tcg")
		}},
		{regexp.MustCompile(`unable to find CPU model|[Pp]roperty '.*-cpu\.`), func(said string) error {
			return sdk.Invalid("cpu-model-unknown", "/properties/"+keyCPUModel, said, "leave it empty")
		}},
		{regexp.MustCompile(`unsupported machine type`), func(said string) error {
			return sdk.Invalid("machine-type-unknown", "/properties/"+keyMachineType, said, "use q35")
		}},
		{regexp.MustCompile(`Could not open '.*': Permission denied`), func(said string) error {
			return sdk.Denied("disk-denied", said, "give it to the data group: chgrp and chmod 0660")
		}},
		{regexp.MustCompile(`Could not open '.*': No such file`), func(said string) error {
			return sdk.NotFound("disk-missing", said, "")
		}},
		{regexp.MustCompile(`"driver":"qcow2"|[Qq]cow2`), func(said string) error {
			return sdk.Invalid("image-broken", fieldVolumes, said, "look at it with qemu-img check")
		}},
	}
}

// startFault says why a QEMU that was launched ended at once, from its last words.
func startFault(unit *driverpb.Unit) error {
	said := lastWords(unit.GetLogPath())
	for _, complaint := range complaints() {
		if complaint.says.MatchString(said) {
			return complaint.fault(option.ReplaceAllString(said, ""))
		}
	}
	if said == "" {
		said = fmt.Sprintf("QEMU ended with exit code %d and said nothing", unit.GetExitCode())
	}
	return sdk.Transient("qemu-ended", said)
}

// refusalFault says what a command's refusal means; err itself when it is something else.
func refusalFault(err error) error {
	refusal, ok := errors.AsType[*qmp.Error](err)
	if !ok {
		return err
	}
	for _, complaint := range complaints() {
		if complaint.says.MatchString(refusal.Description) {
			return complaint.fault(refusal.Description)
		}
	}
	return sdk.Conflict("qemu-refused", err.Error(), "")
}

// endedFault says that QEMU ended while it did something: whatever that came to, the next call finds out. Other errors
// stay as they are.
func endedFault(doing string, err error) error {
	if !errors.Is(err, qmp.ErrClosed) {
		return err
	}
	return errors.Join(sdk.Unknown("qemu-ended", "the machine's QEMU ended during "+doing), err)
}

// noSpace is how QEMU says that a file system or quota is full.
var noSpace = regexp.MustCompile(`No space left|quota exceeded|File too large`)

// lastWords reads from the end of a log why QEMU ended: its last error, without the name and time before it.
func lastWords(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > logTail {
		_, _ = file.Seek(-logTail, io.SeekEnd)
	}
	text, err := io.ReadAll(io.LimitReader(file, logTail))
	if err != nil {
		return ""
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		said := prefix.ReplaceAllString(strings.TrimSpace(line), "")
		if said != strings.TrimSpace(line) && !strings.HasPrefix(said, "warning:") {
			last = said // other lines only explain
		}
	}
	return strings.ToValidUTF8(last, "?")
}

// option is the one of our command line that an error is about.
var option = regexp.MustCompile(`^-\w+ \{.*\}: `)

var prefix = regexp.MustCompile(`^(\S+Z )?qemu-(system-\w+|kvm): `)
