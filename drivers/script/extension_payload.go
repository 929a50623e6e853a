package script

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// extensionFailed is the code of what an extension itself says went wrong.
const extensionFailed = "extension-failed"

// Answers to status, in the words of the contract.
const (
	powerOn  = "running"
	powerOff = "stopped"
)

// externalPrefix marks details of a machine that are meant for extensions.
const externalPrefix = "External:"

// act has the extension do an action on a machine, and returns the object that it answered, if it did.
func (e *extension) act(ctx context.Context, action string, call *driverpb.Call, m *machine) (map[string]any, error) {
	ended, err := e.execute(ctx, action, call, m)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{}
	if err := json.Unmarshal(ended.Stdout, &answer); err != nil && action == "prepare" &&
		len(strings.TrimSpace(string(ended.Stdout))) > 0 {
		return nil, badReply(fmt.Errorf("not JSON: stdout begins with %s", beginning(ended.Stdout, nil)))
	}
	return answer, nil // of other actions the exit code says all
}

// power asks the extension whether a machine is on.
func (e *extension) power(ctx context.Context, call *driverpb.Call, m *machine) (string, error) {
	ended, err := e.execute(ctx, "status", call, m)
	if err != nil {
		return "", err
	}
	said := strings.TrimSpace(string(ended.Stdout))
	var answer struct {
		PowerState string `json:"power_state"`
	}
	if strings.HasPrefix(said, "{") {
		if err := json.Unmarshal([]byte(said), &answer); err != nil {
			return "", badReply(fmt.Errorf("not JSON: stdout begins with %s", beginning(ended.Stdout, nil)))
		}
		said = answer.PowerState
	}
	switch strings.ToLower(said) {
	case "poweron":
		return powerOn, nil
	case "poweroff":
		return powerOff, nil
	}
	return "", sdk.Transient("power-unknown", fmt.Sprintf("the extension does not know whether machine %s is on", m.ID))
}

// execute runs the extension once: its arguments are the action, the path of the payload, and seconds.
func (e *extension) execute(ctx context.Context, action string, call *driverpb.Call, m *machine) (ended, error) {
	ctx, until, cancel := e.program.within(ctx)
	defer cancel()
	payload, secrets, err := e.payload(call, m)
	if err != nil {
		return ended{}, err
	}
	seconds := int(max(math.Floor(time.Until(until).Seconds()), 1))
	done, err := e.program.execute(ctx, action, input{payload: payload, rest: []string{strconv.Itoa(seconds)}}, secrets)
	if err != nil {
		return done, err
	}
	if err := cutShort(ctx, action, done); err != nil {
		return done, err
	}
	if done.Exit != 0 {
		return done, sdk.Internal(extensionFailed, errors.New(action+" failed: "+complaint(done, secrets)))
	}
	return done, nil
}

// complaint is what an extension said when it failed.
func complaint(e ended, secrets map[string]string) string {
	var answer struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	if json.Unmarshal(e.Stdout, &answer) == nil && answer.Error+answer.Message != "" {
		return sdk.Redact(answer.Error+answer.Message, secrets)
	}
	return fmt.Sprintf("exit code %d%s; stdout begins with %s", e.Exit, words(e), beginning(e.Stdout, secrets))
}

// payload is the document that CloudStack gives to extensions.
func (e *extension) payload(call *driverpb.Call, m *machine) (payload []byte, secrets map[string]string, err error) {
	properties, secrets := e.settings(call)
	details := map[string]map[string]string{
		"extension": {}, "resourcemap": {}, "host": {}, "virtualmachine": {},
	}
	put := func(key, value string) {
		switch e.scopes[key] {
		case "driver":
			details["extension"][key] = value
		case "machine":
			details["virtualmachine"][key] = value
		default:
			details["host"][key] = value
		}
	}
	for key, value := range properties {
		put(key, text(value))
	}
	for key, value := range secrets {
		put(key, value)
	}
	machine := merged(m.details(), m.Patch)
	if known, ok := machine["details"].(map[string]any); ok {
		for key, value := range known {
			if name, external := strings.CutPrefix(key, externalPrefix); external {
				details["virtualmachine"][name] = text(value)
			}
		}
	}
	payload, err = json.Marshal(map[string]any{
		"externaldetails": details, "virtualmachineid": m.uuid(), "virtualmachinename": m.ID,
		"cloudstack.vm.details": machine,
	})
	if err != nil {
		return nil, nil, sdk.Internal("encoding-payload", err)
	}
	return payload, secrets, nil
}

// details are those of a machine, by the names that CloudStack gives them.
func (m *machine) details() map[string]any {
	nics := make([]any, len(m.Nics))
	for i, nic := range m.Nics {
		nics[i] = map[string]any{
			"deviceId": i, "nicUuid": uuid(nic.ID), "uuid": uuid(nic.ID), "mac": nic.MAC, "type": "Guest",
			"broadcastType": "Vlan", "broadcastUri": "vlan://" + m.VLAN, "defaultNic": i == 0,
		}
	}
	return map[string]any{
		"id": m.number(), "uuid": m.uuid(), "name": m.ID, "hostName": m.Name, "type": "User", "bootloader": "HVM",
		"cpus": m.CPUs, "minRam": m.MemoryBytes, "maxRam": m.MemoryBytes, "disks": []any{}, "nics": nics,
		"details": map[string]any{},
	}
}

// number is the machine's id where CloudStack has one of a row.
func (m *machine) number() uint32 {
	sum := sha256.Sum256([]byte(m.ID))
	return binary.BigEndian.Uint32(sum[:]) >> 1
}

func (m *machine) uuid() string { return uuid(m.ID) }

// uuid is one that is always the same for an id.
func uuid(id string) string {
	sum := sha256.Sum256([]byte(id))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // of version 8, which says nothing
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// merged applies a JSON merge patch, as CloudStack does with what prepare answers.
func merged(onto, patch map[string]any) map[string]any {
	made := maps.Clone(onto)
	if made == nil {
		made = map[string]any{}
	}
	for key, value := range patch {
		below, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(made, key)
		case isObject:
			there, _ := made[key].(map[string]any)
			made[key] = merged(there, below)
		default:
			made[key] = value
		}
	}
	return made
}
