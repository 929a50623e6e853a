package outofband

import (
	"fmt"
	"math"
	"regexp"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	kindHost = "host"

	propertyAddress  = "address"
	propertyPort     = "port"
	propertyUser     = "user"
	propertyPassword = "password"
	propertyUUID     = "expectedUuid"
	propertySerial   = "expectedSerial"
	propertyConfirm  = "confirmSeconds"
	propertyRequest  = "requestSeconds"
)

const (
	// A name, an IPv4 or an IPv6 address: nothing that a program would take for an option.
	addressPattern = `[0-9A-Za-z:]([0-9A-Za-z.:_-]*[0-9A-Za-z:])?`
	uuidPattern    = `[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`

	maxText        = 255
	defaultConfirm = 60
	maxConfirm     = 600
	defaultRequest = 10
	maxRequest     = 60
)

var (
	addressSyntax = regexp.MustCompile(`^` + addressPattern + `$`)
	uuidSyntax    = regexp.MustCompile(`^` + uuidPattern + `$`)
)

// Settings say where a host's controller is, who asks it, and what it must be.
type Settings struct {
	Address        string
	Port           uint16
	User, Password string
	// UUID and Serial are what the controller must say of its host; empty = anything.
	UUID, Serial string
	// Confirm is how long to wait for what was ordered, Request for one answer.
	Confirm, Request time.Duration
}

func (s Settings) wanted() Wanted { return Wanted{UUID: s.UUID != "", Serial: s.Serial != ""} }

// Limits are what a protocol allows.
type Limits struct {
	DefaultPort uint16
	// Ports are those that the driver's process may connect to; empty = any.
	Ports []uint16
	// User and Password are the longest, in bytes; 0 = 255.
	User, Password uint32
}

func (l Limits) textLimit(key string) uint32 {
	switch {
	case key == propertyUser && l.User > 0:
		return l.User
	case key == propertyPassword && l.Password > 0:
		return l.Password
	}
	return maxText
}

// Properties describes the settings.
func Properties(l Limits) []*driverpb.Property {
	text := func(key, label, words string) *driverpb.Property {
		return &driverpb.Property{
			Key: key, Type: driverpb.Property_TYPE_STRING, MaxLength: l.textLimit(key), Label: label, Description: words,
		}
	}
	number := func(key, label, words string, fallback, most float64) *driverpb.Property {
		return &driverpb.Property{
			Key: key, Type: driverpb.Property_TYPE_NUMBER, Min: new(1.0), Max: &most,
			Default: structpb.NewNumberValue(fallback), Label: label, Description: words,
		}
	}
	address := text(propertyAddress, "Address", "Name or IP address of the host's controller.")
	address.Required, address.Pattern = true, addressPattern
	port := number(propertyPort, "Port", "Port of the controller.", float64(l.DefaultPort), math.MaxUint16)
	for _, allowed := range l.Ports {
		port.Enum = append(port.Enum, structpb.NewNumberValue(float64(allowed)))
	}
	user := text(propertyUser, "User", "User of the controller who may control power.")
	user.Required = true
	password := text(propertyPassword, "Password", "Password of the user.")
	password.Required, password.Secret = true, true
	uuid := text(propertyUUID, "Expected UUID",
		"UUID that the controller must say its host has. Otherwise nothing is done, so that a mistyped address never "+
			"turns off another host.")
	uuid.Pattern = uuidPattern
	all := []*driverpb.Property{
		address, port, user, password, uuid,
		text(propertySerial, "Expected serial number", "The same for the host's serial number."),
		number(propertyConfirm, "Confirmation",
			"How long to ask the controller whether the power is off, or on, before the outcome is called unknown, in "+
				"seconds.", defaultConfirm, maxConfirm),
		number(propertyRequest, "Patience", "How long one answer of the controller may take, in seconds.", defaultRequest,
			maxRequest),
	}
	return Described(all)
}

// Described completes properties of the hosts' scope by where their texts are.
func Described(all []*driverpb.Property) []*driverpb.Property {
	for _, p := range all {
		p.Scope, p.Group = kindHost, "out-of-band"
		p.LabelKey = "property.host." + p.GetKey() + ".label"
		p.DescriptionKey = "property.host." + p.GetKey() + ".description"
	}
	return all
}

// ReadSettings reads the settings of a call.
func ReadSettings(call *driverpb.Call, l Limits) (Settings, error) {
	r := Reader{Properties: call.GetProperties().GetFields()}
	s := Settings{
		Address:  r.Text(propertyAddress, maxText),
		Port:     uint16(r.Number(propertyPort, float64(l.DefaultPort), math.MaxUint16)),
		User:     r.Text(propertyUser, l.textLimit(propertyUser)),
		Password: call.GetSecrets()[propertyPassword],
		UUID:     r.Text(propertyUUID, maxText),
		Serial:   r.Text(propertySerial, maxText),
		Confirm:  time.Duration(r.Number(propertyConfirm, defaultConfirm, maxConfirm)) * time.Second,
		Request:  time.Duration(r.Number(propertyRequest, defaultRequest, maxRequest)) * time.Second,
	}
	switch {
	case !addressSyntax.MatchString(s.Address):
		r.Refuse(propertyAddress, "must be a name or an IP address")
	case s.User == "":
		r.Refuse(propertyUser, "must be given")
	case s.Password == "":
		r.Refuse(propertyPassword, "must be given")
	case len(s.Password) > int(l.textLimit(propertyPassword)):
		r.Refuse(propertyPassword, fmt.Sprintf("must have at most %d bytes", l.textLimit(propertyPassword)))
	case s.UUID != "" && !uuidSyntax.MatchString(s.UUID):
		r.Refuse(propertyUUID, "must be a UUID such as 4c4c4544-0042-3610-8052-b4c04f463132")
	}
	return s, r.Err()
}

// Reader reads properties and keeps the first that is wrong.
type Reader struct {
	Properties map[string]*structpb.Value
	err        error
}

// Err is the INVALID fault of the first property that is wrong.
func (r *Reader) Err() error { return r.err }

// Refuse says what is wrong with a property.
func (r *Reader) Refuse(key, message string) {
	if r.err == nil {
		r.err = sdk.Invalid("bad-property", "/properties/"+key, key+" "+message, "correct the property "+key)
	}
}

// Text reads a text of at most a number of bytes without line ends or zeros in it; empty when there is none.
func (r *Reader) Text(key string, most uint32) string {
	text := r.Lines(key, most)
	for _, c := range text {
		if c < ' ' {
			r.Refuse(key, "must be one line of text")
		}
	}
	return text
}

// Lines reads a text of at most a number of bytes.
func (r *Reader) Lines(key string, most uint32) string {
	switch kind := r.Properties[key].GetKind().(type) {
	case nil, *structpb.Value_NullValue:
	case *structpb.Value_StringValue:
		if len(kind.StringValue) > int(most) {
			r.Refuse(key, fmt.Sprintf("must have at most %d bytes", most))
		}
		return kind.StringValue
	default:
		r.Refuse(key, "must be a text")
	}
	return ""
}

// Number reads a whole number from 1 to most.
func (r *Reader) Number(key string, fallback, most float64) float64 {
	switch kind := r.Properties[key].GetKind().(type) {
	case nil, *structpb.Value_NullValue:
		return fallback
	case *structpb.Value_NumberValue:
		if n := kind.NumberValue; n >= 1 && n <= most && n == math.Trunc(n) {
			return n
		}
	}
	r.Refuse(key, fmt.Sprintf("must be a whole number from 1 to %.0f", most))
	return fallback
}
