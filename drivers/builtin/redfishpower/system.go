package redfishpower

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/outofband"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const systemsPath = "/redfish/v1/Systems"

// link is how one document names another.
type link struct {
	Path string `json:"@odata.id"`
}

// collection is the list of a controller's systems.
type collection struct {
	Members []link `json:"Members"`
}

// system is what is read of a ComputerSystem.
type system struct {
	PowerState   string `json:"PowerState"`
	UUID         string `json:"UUID"`
	Serial       string `json:"SerialNumber"`
	Model        string `json:"Model"`
	Manufacturer string `json:"Manufacturer"`
	Actions      struct {
		Reset struct {
			Target  string   `json:"target"`
			Allowed []string `json:"ResetType@Redfish.AllowableValues"`
		} `json:"#ComputerSystem.Reset"`
	} `json:"Actions"`
}

// power is the state in the contract's words. On the way to off is not off.
func (s *system) power() driverpb.Power {
	switch s.PowerState {
	case "On":
		return driverpb.Power_POWER_ON
	case "Off":
		return driverpb.Power_POWER_OFF
	}
	return driverpb.Power_POWER_UNKNOWN
}

// complaint is what a controller says in an error document, in one line.
func complaint(body []byte) string {
	var document struct {
		Error struct {
			Message string `json:"message"`
			Info    []struct {
				Message string `json:"Message"`
			} `json:"@Message.ExtendedInfo"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &document) != nil {
		return ""
	}
	said := document.Error.Message
	for _, info := range document.Error.Info {
		if info.Message != "" {
			said = info.Message
			break
		}
	}
	const longest = 200
	said = strings.Join(strings.Fields(said), " ")
	if len(said) > longest {
		said = said[:longest]
	}
	for !utf8.ValidString(said) {
		said = strings.ToValidUTF8(said, "")
	}
	return said
}

// controller is a host's controller for the time of one call.
type controller struct {
	*client
	wanted string // the system asked for; empty = the only one
	at     string // the system's path, once it is known
}

var _ outofband.Controller = (*controller)(nil)

func newController(s outofband.Settings, wanted string, t trust) *controller {
	return &controller{client: newClient(s, t), wanted: wanted}
}

// Close implements outofband.Controller.
func (c *controller) Close() { c.close() }

// find finds the host among the controller's systems.
func (c *controller) find(ctx context.Context) error {
	if c.at != "" {
		return nil
	}
	var all collection
	if err := c.get(ctx, systemsPath, &all); err != nil {
		return err
	}
	names := make([]string, 0, len(all.Members))
	for _, member := range all.Members {
		name := path.Base(strings.TrimSuffix(member.Path, "/"))
		if name == c.wanted || c.wanted == "" && len(all.Members) == 1 {
			c.at = member.Path
			return nil
		}
		names = append(names, name)
	}
	const shown = 8
	has := strings.Join(names[:min(shown, len(names))], ", ")
	if c.wanted != "" {
		return sdk.Invalid("system-missing", "/properties/"+propertySystem,
			fmt.Sprintf("the controller at %s has no system %q; it has %s", c.settings.Address, c.wanted, has),
			"name one that it has")
	}
	return sdk.Invalid("system-ambiguous", "/properties/"+propertySystem,
		fmt.Sprintf("the controller at %s has %d systems: %s", c.settings.Address, len(names), has),
		"name the one that is the host")
}

func (c *controller) read(ctx context.Context) (*system, error) {
	if err := c.find(ctx); err != nil {
		return nil, err
	}
	found := &system{}
	return found, c.get(ctx, c.at, found)
}

// Identify implements outofband.Controller.
func (c *controller) Identify(ctx context.Context, _ outofband.Wanted) (outofband.Identity, error) {
	found, err := c.read(ctx)
	if err != nil {
		return outofband.Identity{}, err
	}
	identity := outofband.Identity{Facts: map[string]string{}}
	if found.UUID != "" {
		identity.UUIDs = []string{found.UUID}
	}
	if found.Serial != "" {
		identity.Serials = []string{found.Serial}
	}
	for key, value := range map[string]string{
		"uuid": found.UUID, "serial": found.Serial, "model": found.Model, "manufacturer": found.Manufacturer,
	} {
		if value != "" {
			identity.Facts[key] = value
		}
	}
	return identity, nil
}

// Power implements outofband.Controller.
func (c *controller) Power(ctx context.Context) (driverpb.Power, error) {
	found, err := c.read(ctx)
	if err != nil {
		return driverpb.Power_POWER_UNSPECIFIED, err
	}
	return found.power(), nil
}

// Order implements outofband.Controller.
func (c *controller) Order(ctx context.Context, action outofband.Action) error {
	kind := map[outofband.Action]string{
		outofband.Off: "ForceOff", outofband.On: "On", outofband.ShutDown: "GracefulShutdown",
	}[action]
	found, err := c.read(ctx)
	if err != nil {
		return err
	}
	reset := found.Actions.Reset
	switch {
	case reset.Target == "":
		return outofband.ActionUnsupported(c.settings.Address, action, "its system has no action to change the power")
	case len(reset.Allowed) > 0 && !slices.Contains(reset.Allowed, kind):
		return outofband.ActionUnsupported(c.settings.Address, action,
			"it allows "+strings.Join(reset.Allowed, ", ")+", and not "+kind)
	}
	err = c.post(ctx, reset.Target, map[string]string{"ResetType": kind})
	if sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_UNSUPPORTED {
		return outofband.ActionUnsupported(c.settings.Address, action, sdk.FaultOf(err).GetMessage())
	}
	return err
}
