package qmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Error is a command's refusal by QEMU.
type Error struct {
	// Class is one of few ("GenericError", "DeviceNotFound", "CommandNotFound" ...).
	Class string `json:"class"`
	// Description is for people and changes between versions.
	Description string `json:"desc"`
}

// Error implements error.
func (e *Error) Error() string {
	return e.Class + ": " + e.Description
}

// Event is something that happened in QEMU.
type Event struct {
	Name string
	Data json.RawMessage
	Time time.Time
}

// Kind tells what a line from QEMU is.
type Kind int

// The kinds of a Message.
const (
	KindGreeting Kind = iota + 1
	KindReturn
	KindError
	KindEvent
)

// Message is one decoded line from QEMU.
type Message struct {
	Kind Kind
	// ID is the command's that is answered; 0 when the answer has none.
	ID uint64
	// Return is set for KindReturn.
	Return json.RawMessage
	// Fault is set for KindError.
	Fault *Error
	// Event is set for KindEvent.
	Event Event
	// Version is set for KindGreeting: major.minor.micro.
	Version string
}

type wireMessage struct {
	Greeting  *wireGreeting   `json:"QMP"`
	ID        *uint64         `json:"id"`
	Return    json.RawMessage `json:"return"`
	Error     *Error          `json:"error"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
}

type wireGreeting struct {
	Version struct {
		QEMU struct {
			Major int `json:"major"`
			Minor int `json:"minor"`
			Micro int `json:"micro"`
		} `json:"qemu"`
	} `json:"version"`
}

var errNotQMP = errors.New("not a QMP message")

// Decode reads one line. A line that is valid JSON but none of the four kinds is an error.
func Decode(line []byte) (Message, error) {
	var wire wireMessage
	if err := json.Unmarshal(line, &wire); err != nil {
		return Message{}, fmt.Errorf("decoding a QMP line: %w", err)
	}
	message := Message{}
	if wire.ID != nil {
		message.ID = *wire.ID
	}
	switch {
	case wire.Greeting != nil:
		version := wire.Greeting.Version.QEMU
		message.Kind = KindGreeting
		message.Version = fmt.Sprintf("%d.%d.%d", version.Major, version.Minor, version.Micro)
	case wire.Event != "":
		message.Kind = KindEvent
		message.Event = Event{
			Name: wire.Event, Data: wire.Data,
			Time: time.Unix(wire.Timestamp.Seconds, wire.Timestamp.Microseconds*int64(time.Microsecond)),
		}
	case wire.Error != nil:
		message.Kind, message.Fault = KindError, wire.Error
	case wire.Return != nil:
		message.Kind, message.Return = KindReturn, wire.Return
	default:
		return Message{}, fmt.Errorf("decoding a QMP line: %w", errNotQMP)
	}
	return message, nil
}

type wireCommand struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

func encodeCommand(id uint64, name string, arguments any) ([]byte, error) {
	line, err := json.Marshal(wireCommand{Execute: name, Arguments: arguments, ID: id})
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", name, err)
	}
	return append(line, '\n'), nil
}
