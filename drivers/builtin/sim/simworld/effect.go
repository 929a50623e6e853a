package simworld

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// What an effect may be called besides the names that calls give to theirs ("grow", "attach", "start" ...).
const (
	// EffectCreate makes a thing.
	EffectCreate = "create"
	// EffectLeave stops a machine that is about to arrive elsewhere, and EffectReturn lets it go on, since it has not.
	EffectLeave  = "leave"
	EffectReturn = "return"
	// EffectAdopt has a thing obey a newer owner, or work again.
	EffectAdopt = "adopt"
	// EffectFault is an injected fault that fired; nothing changed.
	EffectFault = "fault"
	// EffectRefusal is an attempt that a physical law prevented; nothing changed.
	EffectRefusal = "refusal"
)

// Effect is one line of the journal: one thing that changed, and why.
type Effect struct {
	// Seq counts effects from 1, without gaps.
	Seq  uint64
	Time time.Time
	// What was done: "create", "grow", "delete" ...
	What string
	// Cause is the call that did it; its Call is empty when a guest or a person did.
	Cause
	// Object is the thing as it was afterwards, or, if Gone, its last state.
	Object Object
	Gone   bool
	// Why is the rule of a fault, and the law of a refusal with its words.
	Why string
}

// Cause is the call behind an effect.
type Cause struct {
	// Call is the method's name: "CreateVolume".
	Call  string
	Token string
	Epoch uint64
	// Resource is what the call was about, not always what it changed.
	Resource Ref
	// By is the instance that served it.
	By string
}

// changes tells whether the effect changed the world.
func (e *Effect) changes() bool {
	return e.What != EffectFault && e.What != EffectRefusal
}

// appendLine appends the effect as a line of the journal, with its end.
func (e *Effect) appendLine(line []byte) ([]byte, error) {
	line = append(line, `{"seq":`...)
	line = strconv.AppendUint(line, e.Seq, 10)
	line = append(line, `,"time":"`...)
	line = e.Time.UTC().AppendFormat(line, time.RFC3339Nano)
	line = append(line, '"')
	o := &e.Object
	line = appendText(line, "effect", e.What)
	line = appendText(line, "kind", o.Kind)
	line = appendText(line, "scope", o.Scope)
	line = appendText(line, "id", o.ID)
	if e.Gone {
		line = append(line, `,"gone":true`...)
	}
	line = appendText(line, "call", e.Call)
	line = appendText(line, "token", e.Token)
	line = appendNumber(line, "epoch", e.Epoch)
	line = appendText(line, "by", e.By)
	if e.Resource != o.Ref() {
		line = appendText(line, "on_kind", e.Resource.Kind)
		line = appendText(line, "on_id", e.Resource.ID)
	}
	line = appendText(line, "why", e.Why)
	line = appendText(line, "state", o.State)
	line = appendText(line, "format", o.Format)
	line = appendNumber(line, "bytes", o.Bytes)
	line = appendNumber(line, "allocated", o.Allocated)
	line = appendText(line, "content", o.Content)
	line = appendNumber(line, "fence", o.Epoch)
	if o.Detail != nil {
		detail, err := json.Marshal(o.Detail)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", o.Key, err)
		}
		line = append(append(line, `,"detail":`...), detail...)
	}
	return append(line, "}\n"...), nil
}

func appendNumber(line []byte, key string, value uint64) []byte {
	if value == 0 {
		return line
	}
	line = append(append(append(line, `,"`...), key...), `":`...)
	return strconv.AppendUint(line, value, 10)
}

func appendText(line []byte, key, value string) []byte {
	if value == "" {
		return line
	}
	line = append(append(append(line, `,"`...), key...), `":`...)
	return appendString(line, value)
}

// appendString appends JSON; plain text, which is nearly all of it, is copied.
func appendString(line []byte, value string) []byte {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(value) // a string always can be
			return append(line, quoted...)
		}
	}
	return append(append(append(line, '"'), value...), '"')
}
