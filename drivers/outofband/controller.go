package outofband

import (
	"context"
	"fmt"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Action is what a controller can be asked to do.
type Action string

// The actions, in the words of Capabilities.power_actions.
const (
	Off      Action = "off"
	On       Action = "on"
	ShutDown Action = "shutdown"
)

// cycle is made of Off and On.
const cycle = "cycle"

// Actions is what a driver declares whose controllers do all of them.
func Actions() []string { return []string{string(Off), string(On), cycle, string(ShutDown)} }

// Controller is a host's controller for the time of one call. Its errors are faults: see the constructors below.
type Controller interface {
	// Identify asks the controller whose it is.
	Identify(ctx context.Context, wanted Wanted) (Identity, error)
	// Power asks the controller now.
	Power(ctx context.Context) (driverpb.Power, error)
	// Order asks for an action and does not wait for it. A fault of class INVALID, DENIED, NOT_FOUND, CONFLICT or
	// UNSUPPORTED says that the controller refused and nothing happens; after any other error the order may have arrived.
	Order(ctx context.Context, action Action) error
	// Close lets go of connections.
	Close()
}

// Wanted says what of an identity somebody will look at; the rest may be left out.
type Wanted struct{ UUID, Serial bool }

// Identity is what a controller says of its host. A host may be known by several numbers of each sort.
type Identity struct {
	UUIDs, Serials []string
	Facts          map[string]string
}

// Codes of faults that are the same for all drivers of the category.
const (
	CodeUnreachable = "controller-unreachable"
	CodeCredentials = "credentials-refused"
	CodeAction      = "action-unsupported"
	codeAnother     = "another-host"
	codeUnconfirmed = "power-unconfirmed"
	codeIgnored     = "shutdown-ignored"
)

// Unreachable says that the controller does not answer.
func Unreachable(address, why string) error {
	return sdk.Transient(CodeUnreachable, fmt.Sprintf("the controller at %s does not answer: %s", address, why))
}

// CredentialsRefused says that the controller does not let the user in, or not do this.
func CredentialsRefused(address, user, why string) error {
	return sdk.Denied(CodeCredentials, fmt.Sprintf("the controller at %s refuses user %q: %s", address, user, why),
		"check user and password, and that the user may control power")
}

// ActionUnsupported says that the controller can't do this.
func ActionUnsupported(address string, action Action, why string) error {
	return sdk.Unsupported(CodeAction, fmt.Sprintf("the controller at %s can't do %q: %s", address, action, why))
}

// check refuses a controller of another host.
func (id Identity) check(s Settings) error {
	for _, one := range []struct {
		key, name, want string
		have            []string
	}{
		{propertyUUID, "UUID", s.UUID, id.UUIDs},
		{propertySerial, "serial number", s.Serial, id.Serials},
	} {
		if one.want == "" || matches(one.want, one.have) {
			continue
		}
		has := "tells no " + one.name + " of its host"
		if len(one.have) > 0 {
			has = "belongs to the host with the " + one.name + " " + strings.Join(one.have, " or ")
		}
		message := fmt.Sprintf("the controller at %s %s, not %s; nothing was done", s.Address, has, one.want)
		return sdk.Invalid(codeAnother, "/properties/"+one.key, message,
			"correct the address of the controller, or what its host is expected to be")
	}
	return nil
}

func matches(want string, have []string) bool {
	for _, one := range have {
		if strings.EqualFold(strings.TrimSpace(one), want) {
			return true
		}
	}
	return false
}
