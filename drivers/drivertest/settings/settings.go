package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Settings say what to test a driver on. In all values {dir} stands for a new directory that is removed after the
// check, and {id} for a name of its own: of machines it is their id. What is left out is made up from the driver's
// description.
type Settings struct {
	// Properties and Secrets are the driver-wide ones.
	Properties map[string]any    `json:"properties,omitempty"`
	Secrets    map[string]string `json:"secrets,omitempty"`
	Limits     Limits            `json:"limits"`

	Storage    Storage    `json:"storage"`
	Images     Images     `json:"images"`
	Hypervisor Hypervisor `json:"hypervisor"`
	Networks   Networks   `json:"networks"`
	OutOfBand  OutOfBand  `json:"outOfBand"`
}

// Limits is the kit's patience; what is zero takes the kit's own.
type Limits struct {
	// Call is the deadline of an ordinary call, Cancel how soon after a cancel a driver must have stopped.
	Call   Duration `json:"call,omitempty"`
	Cancel Duration `json:"cancel,omitempty"`
	// KillPoints is at how many instants of each call the driver is killed, Parallel how many things are done at once.
	KillPoints int `json:"killPoints,omitempty"`
	Parallel   int `json:"parallel,omitempty"`
}

// Duration is a time in Go's notation: "90s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is no duration: write it as 90s or 2m", text)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Bad is a setting that the driver must refuse.
type Bad struct {
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties,omitempty"`
	// Class of the fault, as in the contract without CLASS_; default INVALID. Code is its code, if it matters.
	Class string `json:"class,omitempty"`
	Code  string `json:"code,omitempty"`
}

// Storage says what to test the storage category on.
type Storage struct {
	// Pool has the properties of an empty pool; Secrets are its secret ones.
	Pool    map[string]any    `json:"pool,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"`
	// BadPools are refused, with Pool for the properties they leave out.
	BadPools []Bad `json:"badPools,omitempty"`
	// VolumeBytes is a multiple of 1 MiB; TooLargeBytes a size no pool has space for.
	VolumeBytes   uint64 `json:"volumeBytes,omitempty"`
	TooLargeBytes uint64 `json:"tooLargeBytes,omitempty"`
	// Format of volumes created without one, where Pool overrules what the driver prefers.
	Format string `json:"format,omitempty"`
	Image  *Image `json:"image,omitempty"`
	// Write and Read are commands that write {file} to the start of a disk, and read its start into {file}: {protocol},
	// {path} and {format} say which disk, {bytes} how much. Raw disks that are files or devices need none.
	Write []string `json:"write,omitempty"`
	Read  []string `json:"read,omitempty"`
}

// Image is a template to clone volumes from; Head is what its disk begins with.
type Image struct {
	Path         string `json:"path"`
	Format       string `json:"format"`
	VirtualBytes uint64 `json:"virtualBytes"`
	Head         string `json:"head,omitempty"`
}

// Images says what to test the image category on.
type Images struct {
	Store     map[string]any    `json:"store,omitempty"`
	Secrets   map[string]string `json:"secrets,omitempty"`
	BadStores []Bad             `json:"badStores,omitempty"`
	// Good can be imported, Bad are refused.
	Good *Template     `json:"good,omitempty"`
	Bad  []BadTemplate `json:"bad,omitempty"`
}

// Template is the source of a template: one of URL and File.
type Template struct {
	Format   string `json:"format"`
	Checksum string `json:"checksum,omitempty"`
	URL      string `json:"url,omitempty"`
	File     string `json:"file,omitempty"`
	// AllowCIDRs are where a download may connect to besides public addresses.
	AllowCIDRs []string `json:"allowCidrs,omitempty"`
}

// BadTemplate is a source that must be refused.
type BadTemplate struct {
	Template
	Name  string `json:"name"`
	Class string `json:"class,omitempty"`
	Code  string `json:"code,omitempty"`
}

// Hypervisor says what to test the hypervisor category on. Machine, Disk and Nic are MachineSpec, MachineDisk and
// MachineNic of the contract as JSON.
type Hypervisor struct {
	Host     map[string]any    `json:"host,omitempty"`
	Secrets  map[string]string `json:"secrets,omitempty"`
	BadHosts []Bad             `json:"badHosts,omitempty"`
	Machine  json.RawMessage   `json:"machine,omitempty"`
	Disk     json.RawMessage   `json:"disk,omitempty"`
	Nic      json.RawMessage   `json:"nic,omitempty"`
	// Boot is how long a guest needs until it reacts to the power button.
	Boot               Duration `json:"boot,omitempty"`
	IgnoresPowerButton bool     `json:"ignoresPowerButton,omitempty"`
}

// Networks says what to test the network category on. Spec is a NetworkSpec of the contract as JSON, in which {n} is
// another number below 256 for each network, so that they do not overlap.
type Networks struct {
	Properties map[string]any    `json:"properties,omitempty"`
	Secrets    map[string]string `json:"secrets,omitempty"`
	Spec       json.RawMessage   `json:"spec,omitempty"`
	Bad        []BadNetwork      `json:"bad,omitempty"`
}

// BadNetwork is a network that can't be built; Field is what the fault must name.
type BadNetwork struct {
	Name  string          `json:"name"`
	Spec  json.RawMessage `json:"spec"`
	Field string          `json:"field,omitempty"`
}

// OutOfBand says what to test the out-of-band category on: one host, whose power goes off and on many times.
type OutOfBand struct {
	Host    map[string]any    `json:"host,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"`
	// Unconfirmed is a host whose controller takes orders and carries out none; Refused are settings that every call
	// refuses. Both take from Host what they leave out.
	Unconfirmed map[string]any `json:"unconfirmed,omitempty"`
	Refused     []Bad          `json:"refused,omitempty"`
	// Powered is a command that ends with 0 when the host's power is on and with 1 when it is off, past the driver.
	Powered []string `json:"powered,omitempty"`
}

// Parse reads settings as JSON. Errors name the field that is wrong or unknown.
func Parse(text []byte) (Settings, error) {
	var s Settings
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, fmt.Errorf("reading the settings: %w", explained(err))
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return s, errors.New("reading the settings: there is more than one document")
	}
	return s, s.check()
}

// explained says which field is wrong.
func explained(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: must be a %s, not a %s", wrong.Field, wrong.Type, wrong.Value)
	}
	return err
}

func (s *Settings) check() error {
	var wrong []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	problem(s.Limits.KillPoints < 0, "limits.killPoints: must not be negative")
	problem(s.Limits.Parallel < 0, "limits.parallel: must not be negative")
	problem(s.Storage.VolumeBytes%(1<<20) != 0, "storage.volumeBytes: must be a multiple of 1048576")
	bads := func(field string, all []Bad) {
		for i, bad := range all {
			problem(bad.Name == "", "%s[%d].name: say what is wrong with it", field, i)
			_, err := classOf(bad.Class)
			problem(err != nil, "%s[%d].class: %v", field, i, err)
		}
	}
	bads("storage.badPools", s.Storage.BadPools)
	bads("images.badStores", s.Images.BadStores)
	bads("hypervisor.badHosts", s.Hypervisor.BadHosts)
	bads("outOfBand.refused", s.OutOfBand.Refused)
	for i, bad := range s.Images.Bad {
		bads(fmt.Sprintf("images.bad[%d]", i), []Bad{{Name: bad.Name, Class: bad.Class}})
	}
	if s.Images.Good != nil {
		problem((s.Images.Good.URL == "") == (s.Images.Good.File == ""), "images.good: needs one of url and file")
	}
	return errors.Join(wrong...)
}

// classOf reads the class of a fault; empty is INVALID.
func classOf(word string) (driverpb.Class, error) {
	if word == "" {
		return driverpb.Class_CLASS_INVALID, nil
	}
	class, ok := driverpb.Class_value["CLASS_"+strings.ToUpper(word)]
	if !ok || class == 0 {
		return 0, fmt.Errorf("%q is no class of faults: write one as INVALID, NOT_FOUND, DENIED", word)
	}
	return driverpb.Class(class), nil
}
