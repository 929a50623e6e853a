package script

import (
	"google.golang.org/protobuf/proto"
)

// Object is what a script is shown of a message.
func Object(message proto.Message) map[string]any { return object(message.ProtoReflect()) }

// Fill reads what a script answered into a message.
func Fill(message proto.Message, from map[string]any) error {
	f := filler{version: 7}
	return f.fill(message, from)
}
