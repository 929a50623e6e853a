package script

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

const callField, handleField = "call", "handle"

// object makes values of JSON of a message: fields by their names in camel case, those that are empty too, handles as
// what they were made of. The call is left out: it is beside the request.
func object(message protoreflect.Message) map[string]any {
	made := map[string]any{}
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Name() == callField || field.HasPresence() && !message.Has(field) {
			continue
		}
		made[field.JSONName()] = fieldValue(field, message.Get(field))
	}
	return made
}

func fieldValue(field protoreflect.FieldDescriptor, value protoreflect.Value) any {
	switch {
	case field.IsMap():
		made := map[string]any{}
		value.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
			made[key.String()] = single(field.MapValue(), value)
			return true
		})
		return made
	case field.IsList():
		made := make([]any, value.List().Len())
		for i := range made {
			made[i] = single(field, value.List().Get(i))
		}
		return made
	}
	return single(field, value)
}

func single(field protoreflect.FieldDescriptor, value protoreflect.Value) any {
	switch {
	case field.Enum() != nil:
		return enumWord(field.Enum(), value.Enum())
	case field.Message() == nil:
		return value.Interface()
	}
	switch message := value.Message().Interface().(type) {
	case *driverpb.Handle:
		return handleValue(message)
	case *structpb.Struct:
		return message.AsMap()
	case *structpb.Value:
		return message.AsInterface()
	}
	return object(value.Message())
}

// handleValue is what a handle was made of. One that another kind of driver made is not JSON.
func handleValue(handle *driverpb.Handle) any {
	if len(handle.GetData()) == 0 {
		return nil
	}
	if json.Valid(handle.GetData()) {
		return json.RawMessage(handle.GetData())
	}
	return map[string]any{"base64": base64.StdEncoding.EncodeToString(handle.GetData())}
}

// prefix of the names of an enum's values: HEALTH_ of Health.
func prefix(enum protoreflect.EnumDescriptor) string {
	return strings.ToUpper(string(enum.Name())) + "_"
}

func enumWord(enum protoreflect.EnumDescriptor, number protoreflect.EnumNumber) any {
	value := enum.Values().ByNumber(number)
	if value == nil {
		return int32(number)
	}
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), prefix(enum)))
}

// filler makes a message of what a script answered.
type filler struct {
	// version of the handles it makes.
	version uint32
}

// fill reads values of JSON, decoded with numbers as they were written, into a message. The error names the field.
func (f *filler) fill(message proto.Message, from map[string]any) error {
	fields := message.ProtoReflect().Descriptor()
	if _, ok := from[handleField]; ok && fields.Fields().ByName(handleField) != nil {
		return errors.New("the handle belongs beside the reply, not into it")
	}
	made, err := f.message(fields, from, "reply")
	if err != nil {
		return err
	}
	text, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("encoding the reply: %w", err)
	}
	if err := protojson.Unmarshal(text, message); err != nil {
		return fmt.Errorf("the reply does not fit: %s", strings.TrimPrefix(plainSpaces(err.Error()), "proto: "))
	}
	return nil
}

// plainSpaces undoes what protobuf does to its errors, so that nobody compares them.
func plainSpaces(text string) string { return strings.ReplaceAll(text, "\u00a0", " ") }

// message turns an object into what protojson reads, field by field.
func (f *filler) message(of protoreflect.MessageDescriptor, from map[string]any, at string) (map[string]any, error) {
	made := map[string]any{}
	for key, value := range from {
		field := of.Fields().ByJSONName(key)
		if field == nil {
			return nil, fmt.Errorf("%s has a field %q, which %s of the contract has not", at, key, of.Name())
		}
		if value == nil {
			continue
		}
		var err error
		if made[key], err = f.value(field, value, at+"."+key); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (f *filler) value(field protoreflect.FieldDescriptor, value any, at string) (any, error) {
	list, isList := value.([]any)
	if !field.IsList() || !isList {
		return f.single(field, value, at)
	}
	made := make([]any, len(list))
	for i, item := range list {
		var err error
		if made[i], err = f.single(field, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (f *filler) single(field protoreflect.FieldDescriptor, value any, at string) (any, error) {
	if word, ok := value.(string); ok && field.Enum() != nil {
		return prefix(field.Enum()) + strings.ToUpper(word), nil
	}
	if field.Message() == nil || field.IsMap() {
		return value, nil
	}
	switch field.Message().FullName() {
	case "bulkhead.driver.v1.Handle":
		text, err := json.Marshal(value)
		return map[string]any{"version": f.version, "data": base64.StdEncoding.EncodeToString(text)}, err
	case "google.protobuf.Struct", "google.protobuf.Value":
		return value, nil
	}
	below, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s must be an object", at)
	}
	return f.message(field.Message(), below, at)
}
