package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Property keys.
const (
	propWorld    = "world"
	propJournal  = "journal"
	propFaults   = "faults"
	propLatency  = "latency"
	propNote     = "noteCalls"
	propCapacity = "capacityBytes"
	propThin     = "thin"
	propCpus     = "cpus"
	propMemory   = "memoryBytes"
	propShutdown = "shutdown"
	propKey      = "accessKey"

	propCompression = "compression"
	propPassphrase  = "passphrase"

	propController = "controller"
	propUUID       = "expectedUuid"
)

// minAccessKey is the least length of an access key.
const minAccessKey = 8

// How a volume can be compressed when it is made, each with the share of its space that it takes then.
const (
	uncompressed = "none"
	quickly      = "lz4"
	tightly      = "zstd"

	quickShare = 2
	tightShare = 4
)

// Defaults of what simulated hardware has.
const (
	defaultCapacity = 1 << 40
	defaultCpus     = 16
	defaultMemory   = 64 << 30
)

// driverSettings are the driver-wide properties.
type driverSettings struct {
	world, journal string
	faults         string
	rules          []simfault.Rule
	latency        latency
}

func readDriverSettings(p properties) (driverSettings, error) {
	var s driverSettings
	for key, to := range map[string]*string{propWorld: &s.world, propJournal: &s.journal, propFaults: &s.faults} {
		text, err := p.text(key)
		if err != nil {
			return s, err
		}
		*to = text
	}
	var err error
	if s.rules, err = simfault.Parse(s.faults); err != nil {
		return s, badProperty(propFaults, err.Error())
	}
	text, err := p.text(propLatency)
	if err != nil {
		return s, err
	}
	if s.latency, err = parseLatency(text); err != nil {
		return s, badProperty(propLatency, err.Error())
	}
	for key, where := range map[string]string{propWorld: s.world, propJournal: s.journal} {
		if where != "" && !path.IsAbs(where) {
			return s, badProperty(key, "must be an absolute path")
		}
	}
	return s, nil
}

// properties are vendor properties as they come with a call.
type properties map[string]*structpb.Value

func badProperty(key, message string) error {
	return sdk.Invalid("bad-property", "/properties/"+key, message, "correct the property "+key)
}

// checkAccessKey checks the key that simulated hardware asks for, which opens nothing.
func checkAccessKey(secrets map[string]string) error { return checkSecret(secrets, propKey) }

func checkSecret(secrets map[string]string, name string) error {
	key := secrets[name]
	if key != "" && (len(key) < minAccessKey || strings.ContainsFunc(key, unicode.IsSpace)) {
		return badProperty(name, fmt.Sprintf("must have at least %d characters, none of them blank", minAccessKey))
	}
	return nil
}

func (p properties) text(key string) (string, error) {
	switch kind := p[key].GetKind().(type) {
	case nil, *structpb.Value_NullValue:
		return "", nil
	case *structpb.Value_StringValue:
		return kind.StringValue, nil
	}
	return "", badProperty(key, "must be a string")
}

// compressed is how much space it takes to write some bytes of a volume that is made.
func (p properties) compressed(written uint64) (uint64, error) {
	how, err := p.text(propCompression)
	switch {
	case err != nil:
		return 0, err
	case how == "", how == uncompressed:
		return written, nil
	case how == quickly:
		return written / quickShare, nil
	case how == tightly:
		return written / tightShare, nil
	}
	return 0, badProperty(propCompression, "must be none, lz4 or zstd")
}

func (p properties) flag(key string) (bool, error) {
	switch kind := p[key].GetKind().(type) {
	case nil, *structpb.Value_NullValue:
		return false, nil
	case *structpb.Value_BoolValue:
		return kind.BoolValue, nil
	}
	return false, badProperty(key, "must be true or false")
}

// number returns a whole number from 1 to limit; fallback when there is none.
func (p properties) number(key string, fallback, limit uint64) (uint64, error) {
	switch kind := p[key].GetKind().(type) {
	case nil, *structpb.Value_NullValue:
		return fallback, nil
	case *structpb.Value_NumberValue:
		n := kind.NumberValue
		if n >= 1 && n <= float64(limit) && n == math.Trunc(n) {
			return uint64(n), nil
		}
	}
	return 0, badProperty(key, fmt.Sprintf("must be a whole number from 1 to %d", limit))
}

// latency says how long calls take: the first entry whose glob matches the method counts.
type latency []latencyEntry

type latencyEntry struct {
	call        simfault.Rule // for its glob only
	base, swing time.Duration
}

// parseLatency reads "CreateVolume=50ms~20ms *=2ms": for each method, by glob, a duration and by how much it swings
// either way.
func parseLatency(text string) (latency, error) {
	var l latency
	for word := range strings.FieldsSeq(text) {
		glob, value, ok := strings.Cut(word, "=")
		if !ok || glob == "" {
			return nil, fmt.Errorf("%q is not method=duration or method=duration~swing", word)
		}
		base, swing, swings := strings.Cut(value, "~")
		entry := latencyEntry{call: simfault.Rule{Call: glob}}
		var err error
		if entry.base, err = time.ParseDuration(base); err != nil || entry.base < 0 {
			return nil, fmt.Errorf("%q in %q is not a duration such as 20ms", base, word)
		}
		if swings {
			if entry.swing, err = time.ParseDuration(swing); err != nil || entry.swing < 0 || entry.swing > entry.base {
				return nil, fmt.Errorf("%q in %q is not a duration up to the one it swings around", swing, word)
			}
		}
		l = append(l, entry)
	}
	return l, nil
}

// of returns how long this call of a method takes.
func (l latency) of(method string) time.Duration {
	for _, entry := range l {
		if !entry.call.Matches(simfault.Subject{Call: method}) {
			continue
		}
		if entry.swing == 0 {
			return entry.base
		}
		return entry.base - entry.swing + rand.N(2*entry.swing+1)
	}
	return 0
}
