package ipmipower

import (
	"context"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/outofband"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// controller is a host's controller for the time of one call.
type controller struct {
	tool ipmitool
	session
}

var _ outofband.Controller = (*controller)(nil)

// ask runs the program and says in the contract's words what went wrong.
func (c *controller) ask(ctx context.Context, command ...string) (string, error) {
	result, err := c.tool.run(ctx, c.session, command...)
	if err != nil {
		return "", err
	}
	if result.failed != nil {
		return "", c.fault(result.words)
	}
	return result.out, nil
}

// Identify implements outofband.Controller. Controllers differ in the order of a GUID's bytes, so the host is known by
// all readings of it.
func (c *controller) Identify(ctx context.Context, wanted outofband.Wanted) (outofband.Identity, error) {
	identity := outofband.Identity{Facts: map[string]string{}}
	if wanted.UUID {
		out, err := c.ask(ctx, "raw", "0x06", "0x37")
		if err != nil && !unsupported(err) {
			return identity, err
		}
		identity.UUIDs = parseGUID(out)
		if len(identity.UUIDs) > 0 {
			identity.Facts["uuid"] = identity.UUIDs[0]
		}
	}
	if wanted.Serial {
		out, err := c.ask(ctx, "fru", "print", "0")
		if err != nil && !unsupported(err) {
			return identity, err
		}
		identity.Serials, identity.Facts["model"], identity.Facts["manufacturer"] = parseFRU(out)
	}
	return identity, nil
}

// unsupported tells whether a controller knows no answer to a question.
func unsupported(err error) bool {
	return sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_UNSUPPORTED
}

// Power implements outofband.Controller.
func (c *controller) Power(ctx context.Context) (driverpb.Power, error) {
	out, err := c.ask(ctx, "chassis", "power", "status")
	if err != nil {
		return driverpb.Power_POWER_UNSPECIFIED, err
	}
	return parsePower(out), nil
}

// Order implements outofband.Controller.
func (c *controller) Order(ctx context.Context, action outofband.Action) error {
	words := map[outofband.Action]string{outofband.Off: "off", outofband.On: "on", outofband.ShutDown: "soft"}
	_, err := c.ask(ctx, "chassis", "power", words[action])
	if unsupported(err) {
		return outofband.ActionUnsupported(c.settings.Address, action, sdk.FaultOf(err).GetMessage())
	}
	return err
}

// Close implements outofband.Controller. Each run of the program closes its session itself.
func (c *controller) Close() {}

// fault makes a fault of what a failed run said.
func (c *controller) fault(words string) error {
	verdict := judge(words)
	address := c.settings.Address
	switch verdict.failure {
	case failureCredentials:
		return outofband.CredentialsRefused(address, c.settings.User, verdict.line)
	case failureCipher:
		return sdk.Invalid("cipher-refused", "/properties/"+propertyCipher,
			"the controller at "+address+" refuses the cipher suite: "+verdict.line, "choose another cipher suite")
	case failureUnsupported:
		return outofband.ActionUnsupported(address, "this", verdict.line)
	case failureOther:
	}
	return outofband.Unreachable(address, verdict.line)
}

// failure is a sort of what can go wrong.
type failure int

const (
	failureOther failure = iota
	failureCredentials
	failureCipher
	failureUnsupported
)

// verdict is what a run failed of, and the line that said so.
type verdict struct {
	failure failure
	line    string
}

// sign is what ipmitool says when it fails of something.
type sign struct {
	failure failure
	words   []string
}

// signs are the surest first.
func signs() []sign {
	return []sign{
		{failureCredentials, []string{
			"RAKP 2 HMAC is invalid", "RAKP 4 message has invalid integrity check value", "unauthorized name",
			"unauthorized role", "unauthorized GUID", "invalid role", "Insufficient privilege level",
			"Requested privilege level exceeds limit",
		}},
		{failureCipher, []string{
			"invalid authentication algorithm", "invalid integrity algorithm", "invalid confidentiality algorithm",
			"no matching authentication", "no matching integrity", "no matching cipher suite",
		}},
		{failureUnsupported, []string{
			"failed: Invalid command", "): Invalid command", "failed: Invalid data field in request",
			"(Invalid data field in request)", "failed: Command not supported", "Requested sensor, data, or record not found",
			"Destination unavailable",
		}},
	}
}

// judge finds what a failed run failed of. Its first questions to a controller may be refused without harm, so a line
// must say more than that something was refused.
func judge(words string) verdict {
	said := lines(words)
	for _, sign := range signs() {
		for _, line := range slices.Backward(said) {
			if containsAny(line, sign.words) && !harmless(line) {
				return verdict{sign.failure, line}
			}
		}
	}
	for _, line := range said {
		trouble := []string{"Address lookup", "failed", "rror", "Unable to establish", "timed out"}
		if containsAny(line, trouble) && !harmless(line) {
			return verdict{failureOther, line}
		}
	}
	return verdict{failureOther, "ipmitool gives no reason"}
}
