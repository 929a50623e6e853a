package persistence

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Codec turns commands and records into bytes and back. It uses deterministic
// CBOR (RFC 8949, section 4.2): equal values have equal bytes on every node.
// Unknown fields are skipped, so that a node can read what a newer one wrote.
type Codec struct {
	encode     cbor.EncMode
	decode     cbor.DecMode
	vocabulary resources.Vocabulary
	levels     Levels
	commands   map[string]known // by their names
}

// NewCodec makes a codec for the kinds of a vocabulary, which knows all levels of this
// program.
func NewCodec(v resources.Vocabulary) (*Codec, error) {
	enc := cbor.CoreDetEncOptions()
	enc.Time = cbor.TimeRFC3339NanoUTC
	encode, err := enc.EncMode()
	if err != nil {
		return nil, fmt.Errorf("setting up the encoder: %w", err)
	}
	dec := cbor.DecOptions{
		DefaultMapType:   reflect.TypeFor[map[string]any](),
		MaxNestedLevels:  64,
		MaxArrayElements: 1 << 20,
		// What a driver or a client said may not be UTF-8, and what was encoded must be decoded.
		UTF8: cbor.UTF8DecodeInvalid,
	}
	decode, err := dec.DecMode()
	if err != nil {
		return nil, fmt.Errorf("setting up the decoder: %w", err)
	}
	c := &Codec{encode: encode, decode: decode, vocabulary: v, levels: ProgramLevels(), commands: map[string]known{}}
	for _, k := range commands() {
		c.commands[k.make().commandName()] = k
	}
	return c, nil
}

// Knowing returns a codec that knows some levels and what comes with them, and nothing
// newer: what a program of these levels would use.
func (c *Codec) Knowing(l Levels) *Codec {
	other := *c
	other.levels = l
	return &other
}

// Levels of zones that the codec knows.
func (c *Codec) Levels() Levels { return c.levels }

// Document is a resource as bytes, with its kind beside it.
type Document struct {
	Kind resources.Kind  `json:"k"`
	Data cbor.RawMessage `json:"d"`
}

// Seal makes a document of a resource.
func (c *Codec) Seal(r resources.Resource) (*Document, error) {
	data, err := c.encode.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", r.Metadata().Ref(), err)
	}
	return &Document{Kind: r.Metadata().Kind, Data: data}, nil
}

// Open reads the resource in a document.
func (c *Codec) Open(d *Document) (resources.Resource, error) {
	if d == nil {
		return nil, errors.New("decoding a resource: there is none")
	}
	return c.resource(d.Kind, d.Data)
}

func (c *Codec) resource(kind resources.Kind, data []byte) (resources.Resource, error) {
	r := c.vocabulary.New(kind)
	if r == nil {
		return nil, fmt.Errorf("decoding a resource: unknown kind %q", kind)
	}
	if err := c.decode.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("decoding a %s: %w", kind, err)
	}
	return r, nil
}

// Clone returns a deep copy.
func (c *Codec) Clone(r resources.Resource) (resources.Resource, error) {
	d, err := c.Seal(r)
	if err != nil {
		return nil, err
	}
	return c.Open(d)
}

func (c *Codec) marshal(what string, v any) ([]byte, error) {
	data, err := c.encode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", what, err)
	}
	return data, nil
}

func (c *Codec) unmarshal(what string, data []byte, v any) error {
	if err := c.decode.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decoding %s: %w", what, err)
	}
	return nil
}

// commandVersion is the version of the envelope below.
const commandVersion = 1

// envelope is how a command travels in the log.
type envelope struct {
	Version uint            `json:"v"`
	Name    string          `json:"n"`
	Data    cbor.RawMessage `json:"d"`
}

// Command is a decision on its way through the log.
//
//sumtype:decl
type Command interface {
	// commandName is what it is called in the log; never changed, never reused.
	commandName() string
	// apply checks the command against the state and changes it. It returns what
	// the proposer is to know. An error of type *resources.Error refuses the
	// command and leaves the state as it was; any other is fatal.
	apply(t *tx) (Result, error)
}

// known is a command that this program knows, and the level of a zone that may hold it.
type known struct {
	level uint32
	make  func() Command
}

// commands lists them all: the one place to add a line.
func commands() []known {
	return []known{
		{1, func() Command { return &Bootstrap{} }},
		{1, func() Command { return &Submit{} }},
		{1, func() Command { return &Commit{} }},
		{1, func() Command { return &Resolve{} }},
		{1, func() Command { return &Suspend{} }},
		{2, func() Command { return &Refuse{} }},
		{1, func() Command { return &Place{} }},
		{1, func() Command { return &Compact{} }},
		{1, func() Command { return &Invite{} }},
		{1, func() Command { return &Admit{} }},
		{1, func() Command { return &Expel{} }},
		{2, func() Command { return &Finalize{} }},
		{2, func() Command { return &Declare{} }},
		{2, func() Command { return &Rotate{} }},
		{2, func() Command { return &Reseal{} }},
		{2, func() Command { return &NoteTrouble{} }},
	}
}

// EncodeCommand makes the bytes of one log entry's command.
func (c *Codec) EncodeCommand(cmd Command) ([]byte, error) {
	data, err := c.marshal(cmd.commandName(), cmd)
	if err != nil {
		return nil, err
	}
	return c.marshal("an envelope", envelope{Version: commandVersion, Name: cmd.commandName(), Data: data})
}

// Errors of what this program can't work with. They are the end of a node: others may be able to.
var (
	// ErrNewer says that something was written by a program that knows more than this one.
	ErrNewer = errors.New("written by a newer program")
	// ErrOlder says that something is older than what this program still knows.
	ErrOlder = errors.New("too old for this program")
)

// DecodeCommand reads the bytes of EncodeCommand. An error that is not ErrNewer says that nobody can read it.
func (c *Codec) DecodeCommand(data []byte) (Command, error) {
	var e envelope
	if err := c.unmarshal("a command", data, &e); err != nil {
		return nil, err
	}
	if e.Version > commandVersion {
		return nil, fmt.Errorf("decoding command %q: version %d, this program knows %d: %w",
			e.Name, e.Version, commandVersion, ErrNewer)
	}
	k, there := c.commands[e.Name]
	if !there || k.level > c.levels.Newest {
		return nil, fmt.Errorf("decoding command %q: no such command: %w; install the version that the other nodes run",
			e.Name, ErrNewer)
	}
	cmd := k.make()
	if err := c.unmarshal("command "+e.Name, e.Data, cmd); err != nil {
		return nil, err
	}
	return cmd, nil
}
