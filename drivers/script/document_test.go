package script_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/script"
)

func TestPublishedSchemasAreThese(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string][]byte{
		"script-call.schema.json": script.CallSchema(), "script-reply.schema.json": script.ReplySchema(),
	} {
		published, err := os.ReadFile(filepath.Join("..", "..", "docs", "vendors", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(published, schema) {
			t.Errorf("docs/vendors/%s is not drivers/script/%s; copy it there", name, name)
		}
	}
}

// TestSchemasAndTypesHaveTheSameFields, and a call has all of them.
func TestSchemasAndTypesHaveTheSameFields(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		schema []byte
		of     reflect.Type
		all    bool
	}{
		{script.CallSchema(), reflect.TypeFor[script.Call](), true},
		{script.ReplySchema(), reflect.TypeFor[script.Reply](), false},
	} {
		var schema struct {
			Required   []string
			Properties map[string]struct {
				Description string
				Properties  map[string]any
			}
		}
		if err := json.Unmarshal(one.schema, &schema); err != nil {
			t.Fatal(err)
		}
		names := fields(one.of)
		if got := slices.Sorted(maps.Keys(schema.Properties)); !slices.Equal(got, names) {
			t.Errorf("the schema of %s has %v, the type %v", one.of, got, names)
		}
		for name, part := range schema.Properties {
			if part.Description == "" {
				t.Errorf("the schema of %s says nothing of %s", one.of, name)
			}
		}
		slices.Sort(schema.Required)
		if one.all && !slices.Equal(schema.Required, names) {
			t.Errorf("the schema of %s requires %v", one.of, schema.Required)
		}
		if below := slices.Sorted(maps.Keys(schema.Properties["fault"].Properties)); !one.all &&
			!slices.Equal(below, fields(reflect.TypeFor[script.Fault]())) {
			t.Errorf("the schema of faults has %v", below)
		}
	}
}

// fields are the names that a type has in JSON, sorted.
func fields(of reflect.Type) []string {
	var names []string
	for field := range of.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestWhatTheSchemaTakesIsTaken: an author who checks answers with the schema is not surprised.
func TestWhatTheSchemaTakesIsTaken(t *testing.T) {
	t.Parallel()
	schema := compiled(t, script.ReplySchema())
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{
			"", "no-space", "No", "a--b", "/sizeBytes", "sizeBytes", "/", "/a/", "/a/b", "because", "{}",
		})
		anything := rapid.OneOf(
			rapid.Map(word, func(s string) any { return s }), rapid.Just(any(nil)), rapid.Just(any(5)), rapid.Just(any([]any{})),
			rapid.Just(any(map[string]any{"a": 1})))
		fault := rapid.MapOfN(rapid.SampledFrom([]string{"code", "field", "remedy", "class"}), anything, 0, 3)
		answer := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "fields") {
			key := rapid.SampledFrom([]string{"message", "reply", "handle", "fault", "result"}).Draw(t, "key")
			answer[key] = anything.Draw(t, "value")
			if rapid.Bool().Draw(t, "proper") {
				answer["fault"] = fault.Draw(t, "fault")
			}
		}
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		_, err = script.ParseReply(text)
		if valid := schema.Validate(plain); valid == nil && err != nil {
			t.Fatalf("the schema takes %s: %v", text, err)
		} else if valid != nil && err == nil {
			t.Fatalf("the schema refuses %s: %v", text, valid)
		}
		if err == nil {
			taken++
		}
	})
	if taken == 0 {
		t.Error("nothing was taken")
	}
}

// messages are all of the contract.
func messages() []protoreflect.MessageType {
	var all []protoreflect.MessageType
	protoregistry.GlobalTypes.RangeMessages(func(kind protoreflect.MessageType) bool {
		if strings.HasPrefix(string(kind.Descriptor().FullName()), "bulkhead.driver.v1.") &&
			!kind.Descriptor().IsMapEntry() && kind.Descriptor().FullName() != "bulkhead.driver.v1.Handle" {
			all = append(all, kind)
		}
		return true
	})
	slices.SortFunc(all, func(a, b protoreflect.MessageType) int {
		return strings.Compare(string(a.Descriptor().FullName()), string(b.Descriptor().FullName()))
	})
	return all
}

// TestMessagesComeBackAsTheyWent: what a script is shown of any message it can answer, and it means the same.
func TestMessagesComeBackAsTheyWent(t *testing.T) {
	t.Parallel()
	kinds := messages()
	rapid.Check(t, func(t *rapid.T) {
		went := rapid.SampledFrom(kinds).Draw(t, "message").New()
		draw(t, went, 0)
		for _, name := range []protoreflect.Name{"call", "handle"} { // they are beside the request and the reply
			if field := went.Descriptor().Fields().ByName(name); field != nil {
				went.Clear(field)
			}
		}
		text, err := json.Marshal(script.Object(went.Interface()))
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var shown map[string]any
		if err := decoder.Decode(&shown); err != nil {
			t.Fatal(err)
		}
		came := went.New().Interface()
		if err := script.Fill(came, shown); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !proto.Equal(came, went.Interface()) {
			t.Fatalf("went %v\ncame %v\nshown %s", went.Interface(), came, text)
		}
	})
}

// draw fills a message at random.
func draw(t *rapid.T, message protoreflect.Message, depth int) {
	switch message.Interface().(type) {
	case *driverpb.Handle:
		content := rapid.SampledFrom([]string{`{"a":[1,2]}`, `5`, `"x"`, `[true]`}).Draw(t, "handle")
		proto.Merge(message.Interface(), &driverpb.Handle{Version: 7, Data: []byte(content)})
		return
	case *structpb.Struct:
		made, err := structpb.NewStruct(map[string]any{"a": 1.5, "b": []any{"x", true, nil}, "c": map[string]any{}})
		if err != nil {
			t.Fatal(err)
		}
		proto.Merge(message.Interface(), made)
		return
	case *structpb.Value:
		proto.Merge(message.Interface(), structpb.NewStringValue("v"))
		return
	}
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if depth > 3 || field.Name() == "call" || field.Kind() == protoreflect.BytesKind || !rapid.Bool().Draw(t, "set") {
			continue
		}
		switch {
		case field.IsMap():
			message.Mutable(field).Map().Set(protoreflect.ValueOfString("k").MapKey(), scalar(t, field.MapValue()))
		case field.IsList() && field.Message() == nil:
			message.Mutable(field).List().Append(scalar(t, field))
		case field.IsList():
			draw(t, message.Mutable(field).List().AppendMutable().Message(), depth+1)
		case field.Message() != nil:
			draw(t, message.Mutable(field).Message(), depth+1)
		default:
			message.Set(field, scalar(t, field))
		}
	}
}

func scalar(t *rapid.T, field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rapid.Float64Range(-1e9, 1e9).Draw(t, "double"))
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(rapid.IntRange(0, values.Len()-1).Draw(t, "enum")).Number())
	default:
		return protoreflect.ValueOfString(rapid.String().Draw(t, "string"))
	}
}

// FuzzParseReply: whatever a script writes is taken or refused in words, and what is taken fits or is refused.
func FuzzParseReply(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `{"message": "x", "handle": {"a": 1}}`, `{"reply": {"sizeBytes": 5, "disk": {"path": "/"}}}`,
		`{"fault": {"code": "a-b", "field": "/a", "remedy": "c"}}`, `{"reply": {"health": "ready", "facts": {"a": "b"}}}`,
		`{"reply": {"volumeHandle": [1, {"b": null}], "handle": 1}}`, `{"handle": null} x`, "{\"message\": \"\xff\"}",
		`{"reply": {"power": "on", "observedAtMs": 1e3, "observed": [{}]}}`, `{"reply":{"network":{"dnsServers":["a"]}}}`,
	} {
		f.Add([]byte(seed))
	}
	kinds := messages()
	f.Fuzz(func(t *testing.T, text []byte) {
		reply, err := script.ParseReply(text)
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 2000+len(text) {
				t.Errorf("the words are %q", err)
			}
			return
		}
		again, err := json.Marshal(reply)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := script.ParseReply(again); err != nil {
			t.Errorf("what was taken is refused, written again: %v\n%s", err, again)
		}
		for _, kind := range kinds {
			_ = script.Fill(kind.New().Interface(), reply.Reply)
		}
	})
}
