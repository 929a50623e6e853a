package qmp_test

import (
	"encoding/json"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
)

func TestDecode(t *testing.T) {
	cases := map[string]struct {
		line string
		kind qmp.Kind
		id   uint64
		bad  bool
	}{
		"greeting":         {line: `{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22}}}}`, kind: qmp.KindGreeting},
		"return":           {line: `{"return":{},"id":7}`, kind: qmp.KindReturn, id: 7},
		"empty return":     {line: `{"return":[],"id":8}`, kind: qmp.KindReturn, id: 8},
		"error":            {line: `{"error":{"class":"GenericError","desc":"no"},"id":9}`, kind: qmp.KindError, id: 9},
		"error without id": {line: `{"error":{"class":"GenericError","desc":"bad JSON"}}`, kind: qmp.KindError},
		"event":            {line: `{"event":"STOP","timestamp":{"seconds":5,"microseconds":6}}`, kind: qmp.KindEvent},
		"nothing known":    {line: `{"hello":1}`, bad: true},
		"not an object":    {line: `[1]`, bad: true},
		"negative id":      {line: `{"return":{},"id":-1}`, bad: true},
		"cut off":          {line: `{"return":{`, bad: true},
		"empty":            {line: ``, bad: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			message, err := qmp.Decode([]byte(c.line))
			if (err != nil) != c.bad {
				t.Fatalf("error = %v, want one: %v", err, c.bad)
			}
			if message.Kind != c.kind || message.ID != c.id {
				t.Errorf("kind %d, id %d, want %d, %d", message.Kind, message.ID, c.kind, c.id)
			}
		})
	}
}

func TestDecodeVersionAndTime(t *testing.T) {
	greeting, err := qmp.Decode([]byte(`{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22}}}}`))
	if err != nil || greeting.Version != "7.2.22" {
		t.Errorf("version %q, error %v, want 7.2.22", greeting.Version, err)
	}
	event, err := qmp.Decode([]byte(`{"event":"STOP","timestamp":{"seconds":5,"microseconds":6}}`))
	if err != nil || event.Event.Time.UnixMicro() != 5_000_006 {
		t.Errorf("time %v, error %v, want 5.000006 s", event.Event.Time, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22}}}}`))
	f.Add([]byte(`{"return":{"status":"running"},"id":7}`))
	f.Add([]byte(`{"error":{"class":"GenericError","desc":"no"},"id":9}`))
	f.Add([]byte(`{"event":"SHUTDOWN","data":{"guest":true},"timestamp":{"seconds":1,"microseconds":2}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		message, err := qmp.Decode(line)
		if err != nil {
			return
		}
		switch message.Kind {
		case qmp.KindGreeting:
			if message.Version == "" {
				t.Errorf("greeting without version from %q", line)
			}
		case qmp.KindReturn:
			if !json.Valid(message.Return) {
				t.Errorf("return is no JSON from %q", line)
			}
		case qmp.KindError:
			if message.Fault == nil {
				t.Errorf("error without fault from %q", line)
			}
		case qmp.KindEvent:
			if message.Event.Name == "" {
				t.Errorf("event without name from %q", line)
			}
		default:
			t.Errorf("kind %d from %q", message.Kind, line)
		}
	})
}
