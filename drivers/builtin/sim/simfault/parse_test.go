package simfault_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func TestParseReadsRules(t *testing.T) {
	text := `call=Create* resource=vol-? nth=2 action=error class=not-found code=gone message="it \"is\" gone; really"

	; token=op-1/* prob=0.25 seed=9 action=lose-answer; kind=volume action=delay at=after for=1s jitter=20ms
	name=a every=3 times=4 action=hang ignore-cancel=true`
	got, err := simfault.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []simfault.Rule{
		{
			Call: "Create*", Resource: "vol-?", Nth: 2, Action: simfault.Error,
			Class: driverpb.Class_CLASS_NOT_FOUND, Code: "gone", Message: `it "is" gone; really`,
		},
		{Token: "op-1/*", Prob: 0.25, Seed: 9, Action: simfault.LoseAnswer},
		{
			Kind: "volume", Action: simfault.Delay, At: simfault.After, For: time.Second,
			Jitter: 20 * time.Millisecond,
		},
		{Name: "a", Every: 3, Times: 4, Action: simfault.Hang, IgnoreCancel: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"action", `fault rule 1: "action" is not key=value`},
		{"=x", `fault rule 1: "x" is not key=value`},
		{"call=X", "fault rule 1: action is missing"},
		{"action=hang;action=boom", "fault rule 2: action=boom: must be one of"},
		{"action=hang colour=red", `unknown word "colour"; known are name, call`},
		{"action=hang nth=1 action=delay", "action is given twice"},
		{"action=hang call=", "call has no value"},
		{"action=hang for=1s", "for goes with [delay slow-start], not with hang"},
		{"action=delay", "delay needs for"},
		{"action=delay for=-1s", "must be a duration"},
		{"action=delay for=9223372036854775807ns jitter=1ns", "for and jitter must be between"},
		{"action=flood-log", "flood-log needs lines"},
		{"action=leak-memory", "leak-memory needs bytes"},
		{"action=hang nth=1 every=2", "exclude each other"},
		{"action=hang seed=2", "seed goes with prob"},
		{"action=hang nth=-1", "nth=-1: must be a whole number"},
		{"action=hang prob=1.5", "must be a number from 0 to 1"},
		{"action=hang prob=NaN", "must be a number from 0 to 1"},
		{"action=hang prob=0", "0 never fires"},
		{"action=hang at=noon", "must be before or after"},
		{"action=crash-before-effect at=after", "at goes with"},
		{"action=error class=CLASS_INVALID", "must be a fault class"},
		{"action=error class=unspecified", "must be a fault class"},
		{`action=error message="never ends`, "the quoted value does not end"},
		{`action=error message="a"b`, "text right after a quoted value"},
		{`action=error message=a"b"`, "a quote inside a value"},
		{"action=hang ignore-cancel=perhaps", "must be true or false"},
	} {
		t.Run(test.text, func(t *testing.T) {
			rules, err := simfault.Parse(test.text)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want an error with %q", rules, err, test.want)
			}
		})
	}
}

func TestParseFile(t *testing.T) {
	rules, err := simfault.ParseFile([]byte(`["action=hang", "action=lie-size; action=lie-success"]`))
	if err != nil || len(rules) != 3 {
		t.Fatalf("got %v, %v; want three rules", rules, err)
	}
	content, err := simfault.FormatFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	again, err := simfault.ParseFile(content)
	if err != nil || !reflect.DeepEqual(rules, again) {
		t.Errorf("got %v, %v after writing and reading; want %v", again, err, rules)
	}
	for content, want := range map[string]string{
		`{"rules":[]}`:              "JSON array of strings",
		`["action=hang","call=X"]`:  "string 2: fault rule 1: action is missing",
		``:                          "JSON array of strings",
		`["action=hang"] and more`:  "JSON array of strings",
		`["action=hang", 7]`:        "JSON array of strings",
		`["action=nonsense x=y z"]`: "string 1",
	} {
		if _, err := simfault.ParseFile([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", content, err, want)
		}
	}
}

func TestCheckRefusesWhatParseRefuses(t *testing.T) {
	for name, rule := range map[string]simfault.Rule{
		"no action":      {},
		"unknown action": {Action: "explode"},
		"foreign field":  {Action: simfault.Hang, Lines: 3},
		"sideways":       {Action: simfault.Error, At: "beside"},
		"negative time":  {Action: simfault.Delay, For: -time.Second},
		"certainty":      {Action: simfault.Hang, Prob: 2},
	} {
		if err := rule.Check(); err == nil {
			t.Errorf("%s: no error for %+v", name, rule)
		}
	}
	if err := (simfault.Rule{Action: simfault.Error, At: simfault.Before}).Check(); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("call=Create* nth=2 action=error class=transient code=busy message=\"a b\"")
	f.Add("action=delay for=1s; action=hang\n\nprob=0.5 seed=1 action=lose-answer")
	f.Add("action=error message=\"\\x00\\u2028\" field=/a/b")
	f.Add("action=error code=\xff\"")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := simfault.Parse(text)
		if err != nil {
			return
		}
		for _, rule := range rules {
			again, err := simfault.Parse(rule.String())
			if err != nil || len(again) != 1 || again[0] != rule {
				t.Fatalf("%q was written as %q and read as %+v, %v", text, rule.String(), again, err)
			}
		}
		content, err := simfault.FormatFile(rules)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := simfault.ParseFile(content); err != nil || len(back) != len(rules) {
			t.Fatalf("%q as a file: %v, %v", text, back, err)
		}
	})
}
