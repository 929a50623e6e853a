package script

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// APIVersion is the version of the documents.
const APIVersion = "bulkhead.dev/script/v1"

var (
	//go:embed script-call.schema.json
	callSchema []byte
	//go:embed script-reply.schema.json
	replySchema []byte
)

// CallSchema returns the JSON Schema (2020-12) of what a script is given.
func CallSchema() []byte { return bytes.Clone(callSchema) }

// ReplySchema returns the JSON Schema (2020-12) of what a script answers.
func ReplySchema() []byte { return bytes.Clone(replySchema) }

// Call is the document that a script gets on its stdin. All fields are there in each call.
type Call struct {
	APIVersion string `json:"apiVersion"`
	// Category of the action; of actions that all drivers have, the first one that the driver serves.
	Category string `json:"category"`
	Action   string `json:"action"`
	// Token identifies what is asked for: asked twice with one a script does the thing once.
	Token string `json:"token"`
	// Repeat says that it may have been done already.
	Repeat bool   `json:"repeat"`
	Epoch  uint64 `json:"epoch"`
	// Deadline is when the script is ended, in UTC.
	Deadline time.Time `json:"deadline"`
	// Resource that the call is about; nil when it is about the driver.
	Resource *Resource `json:"resource"`
	// Properties are the driver-wide ones and those of the resource, which win; Secrets likewise.
	Properties map[string]any    `json:"properties"`
	Secrets    map[string]string `json:"secrets"`
	// Handle is what the script answered last for the resource, null at first; HandleVersion is its format.
	HandleVersion uint32 `json:"handleVersion"`
	Handle        any    `json:"handle"`
	// Request is the rest of the contract's request, with the contract's names in camel case.
	Request map[string]any `json:"request"`
}

// Resource names a resource.
type Resource struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Reply is the document that a script writes to its stdout.
type Reply struct {
	// Message is for people; of a fault it is what is shown.
	Message string `json:"message,omitempty"`
	// Reply is the contract's reply, without the handle.
	Reply map[string]any `json:"reply,omitempty"`
	// Handle replaces the resource's; when HasHandle is not set it stays as it is.
	Handle    json.RawMessage `json:"handle,omitempty"`
	HasHandle bool            `json:"-"`
	// Fault says more about what the exit code says.
	Fault *Fault `json:"fault,omitempty"`
}

// Fault is why a call was not done.
type Fault struct {
	// Code is stable, in lower case with dashes: "no-space".
	Code string `json:"code,omitempty"`
	// Field is a JSON pointer to what is wrong: "/sizeBytes".
	Field string `json:"field,omitempty"`
	// Remedy is one next step for the operator.
	Remedy string `json:"remedy,omitempty"`
}

var (
	codeSyntax  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	fieldSyntax = regexp.MustCompile(`^(/[^/\x00-\x1f]+)+$`)
)

const (
	maxMessage = 8 << 10
	maxCode    = 64
)

// ParseReply reads what a script wrote to its stdout. The error says what is wrong in words for its author, and shows
// the beginning of what is not JSON.
func ParseReply(text []byte) (*Reply, error) {
	return parseReply(text, nil)
}

// parseReply shows nobody the secrets.
func parseReply(text []byte, secrets map[string]string) (*Reply, error) {
	notJSON := func(what string) error {
		return fmt.Errorf("not JSON: %s; stdout begins with %s", what, beginning(text, secrets))
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("not JSON: it wrote nothing to stdout, want one JSON object")
	}
	if !utf8.Valid(text) {
		return nil, notJSON("it is not UTF-8")
	}
	var object map[string]json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&object); err != nil || object == nil {
		return nil, notJSON("it is not a JSON object")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, notJSON("something follows the JSON object")
	}
	reply := &Reply{}
	for key, value := range object {
		if err := reply.set(key, value); err != nil {
			return nil, err
		}
	}
	return reply, reply.check()
}

// beginning shows what somebody wrote.
func beginning(text []byte, secrets map[string]string) string {
	const shown = 200
	said := sdk.Redact(string(text), secrets)
	return strconv.Quote(said[:min(len(said), shown)])
}

func (r *Reply) set(key string, value json.RawMessage) error {
	var err error
	switch key {
	case "message":
		err = json.Unmarshal(value, &r.Message)
	case "reply":
		decoder := json.NewDecoder(bytes.NewReader(value))
		decoder.UseNumber()
		err = decoder.Decode(&r.Reply)
	case "handle":
		var compact bytes.Buffer
		err = json.Compact(&compact, value)
		r.Handle, r.HasHandle = compact.Bytes(), true
	case "fault":
		decoder := json.NewDecoder(bytes.NewReader(value))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(&r.Fault)
	default:
		return fmt.Errorf("the reply has a field %s; the fields are message, reply, handle, fault", strconv.Quote(key))
	}
	if err != nil {
		return fmt.Errorf("the reply's field %s: %w", key, err)
	}
	return nil
}

func (r *Reply) check() error {
	if len(r.Message) > maxMessage {
		return fmt.Errorf("the reply's field message has %d bytes, more than %d", len(r.Message), maxMessage)
	}
	if len(r.Handle) > sdk.MaxHandleBytes {
		return fmt.Errorf("the reply's field handle has %d bytes, more than %d", len(r.Handle), sdk.MaxHandleBytes)
	}
	f := r.Fault
	switch {
	case f == nil:
	case f.Code != "" && (len(f.Code) > maxCode || !codeSyntax.MatchString(f.Code)):
		return errors.New("the reply's field fault.code must be in lower case with dashes, as no-space")
	case f.Field != "" && !fieldSyntax.MatchString(f.Field):
		return errors.New("the reply's field fault.field must be a JSON pointer, as /sizeBytes")
	case len(f.Remedy) > maxMessage:
		return fmt.Errorf("the reply's field fault.remedy has more than %d bytes", maxMessage)
	}
	return nil
}

// exits are what exit codes mean besides 0, unless driver.yaml says otherwise.
func exits() map[int]driverpb.Class {
	return map[int]driverpb.Class{
		1: driverpb.Class_CLASS_CONFLICT, 2: driverpb.Class_CLASS_INVALID, 3: driverpb.Class_CLASS_NOT_FOUND,
		75: driverpb.Class_CLASS_TRANSIENT,
	}
}

// classOf is a class by its name in driver.yaml.
func classOf(name string) driverpb.Class {
	name = "CLASS_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	return driverpb.Class(driverpb.Class_value[name])
}

// codeOf is the code of a fault whose script says none.
func codeOf(class driverpb.Class) string {
	switch class {
	case driverpb.Class_CLASS_CONFLICT:
		return "refused"
	case driverpb.Class_CLASS_INVALID:
		return "bad-input"
	case driverpb.Class_CLASS_TRANSIENT:
		return "try-again"
	default:
		return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(class.String(), "CLASS_")), "_", "-")
	}
}
