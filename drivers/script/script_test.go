package script_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/script"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestWhatAScriptIsGiven(t *testing.T) {
	t.Parallel()
	s := shell(t, "create-volume", `cat > "$DRIVER_WORK_DIR/document"; echo "$@" > "$DRIVER_WORK_DIR/arguments"
env > "$DRIVER_WORK_DIR/environment"; touch left; echo '{"reply": {"sizeBytes": 8388608, "disk": {"path": "/srv/v"}},
"handle": { "at": [1, "x"] }}'`)
	if _, err := driverpb.NewBaseClient(s.conn).Configure(soon(t), &driverpb.ConfigureRequest{
		Properties: structOf(t, map[string]any{"site": "north", "tier": 1}), Secrets: map[string]string{"key": "abcdefgh"},
	}); err != nil {
		t.Fatal(err)
	}
	in := &driverpb.CreateVolumeRequest{
		Call: call(t, "op/1"), SizeBytes: 1<<53 + 1,
		Pool: &driverpb.PoolRef{
			Resource: &driverpb.Ref{Kind: "pool", Id: "pool-1"},
			Handle:   &driverpb.Handle{Version: 2, Data: []byte(`{"path":"/srv/pool-1"}`)},
		},
	}
	in.Call.Resource = &driverpb.Ref{Kind: "volume", Id: "vol-1"}
	in.Call.Handle = &driverpb.Handle{Version: 1, Data: []byte{0xff}}
	got, err := driverpb.NewStorageClient(s.conn).CreateVolume(soon(t), in)
	if err != nil {
		t.Fatal(err)
	}
	want := &driverpb.VolumeReply{
		SizeBytes: 8388608, Disk: &driverpb.Disk{Path: "/srv/v"},
		Handle: &driverpb.Handle{Version: 2, Data: []byte(`{"at":[1,"x"]}`)},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	text := file(t, s.work, "document")
	matches(t, script.CallSchema(), text)
	var document map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		t.Fatal(err)
	}
	until, err := time.Parse(time.RFC3339, document["deadline"].(string))
	if left := time.Until(until); err != nil || left <= 0 || left > time.Minute {
		t.Errorf("it is told to be done in %v: %v", left, err)
	}
	delete(document, "deadline")
	made, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"action":"create-volume","apiVersion":"bulkhead.dev/script/v1","category":"storage","epoch":3,` +
		`"handle":{"base64":"/w=="},"handleVersion":1,` +
		`"properties":{"path":"/srv","site":"north","thin":true,"tier":2},"repeat":false,` +
		`"request":{"format":"","pool":{"handle":{"path":"/srv/pool-1"},"resource":{"id":"pool-1","kind":"pool"}},` +
		`"sizeBytes":9007199254740993},"resource":{"id":"vol-1","kind":"volume"},` +
		`"secrets":{"key":"abcdefgh","password":"open sesame"},"token":"op/1"}`; string(made) != want {
		t.Errorf("it is given\n%s\nwant\n%s", made, want)
	}
	if got := file(t, s.work, "arguments"); got != "create-volume\n" {
		t.Errorf("its arguments are %s", got)
	}
	if got := file(t, s.work, "environment"); strings.Contains(got, "sesame") || strings.Contains(got, "abcdefgh") ||
		strings.Contains(got, "GOFLAGS") || !strings.Contains(got, "PATH=/usr/sbin:/usr/bin:/sbin:/bin") {
		t.Errorf("its environment is %s", got)
	}
}

func structOf(t *testing.T, values map[string]any) *structpb.Struct {
	t.Helper()
	made, err := structpb.NewStruct(values)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func file(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func matches(t *testing.T, schema []byte, text string) {
	t.Helper()
	if err := compiled(t, schema).Validate(value(t, text)); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
}

func compiled(t testing.TB, schema []byte) *jsonschema.Schema {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", parsed); err != nil {
		t.Fatal(err)
	}
	made, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func value(t testing.TB, text string) any {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestWrongScripts: each gets the fault that says what is wrong with it.
func TestWrongScripts(t *testing.T) {
	t.Parallel()
	const unknown, internal = driverpb.Class_CLASS_UNKNOWN, driverpb.Class_CLASS_INTERNAL
	long := strings.Repeat("y", 300)
	for name, test := range map[string]struct {
		text        string
		class       driverpb.Class
		code, words string
	}{
		"writes nothing": {"exit 0", internal, "reply-invalid", "not JSON: it wrote nothing to stdout"},
		"writes words": {
			"echo all is well, " + long, internal, "reply-invalid",
			`not JSON: it is not a JSON object; stdout begins with "all is well, ` + strings.Repeat("y", 187) + `"`,
		},
		"writes a list":            {"echo '[]'", internal, "reply-invalid", "not a JSON object"},
		"writes null":              {"echo null", internal, "reply-invalid", "not a JSON object"},
		"writes half an object":    {`printf '{"reply": {'`, internal, "reply-invalid", "not a JSON object"},
		"writes two":               {"echo '{}{}'", internal, "reply-invalid", "something follows the JSON object"},
		"writes words after it":    {"echo '{}'; echo done", internal, "reply-invalid", "something follows"},
		"writes bytes":             {`printf '{"message": "\377"}'`, internal, "reply-invalid", "not UTF-8"},
		"has fields of its own":    {`echo '{"result": 1}'`, internal, "reply-invalid", `"result"; the fields are message,`},
		"answers another contract": {`echo '{"reply": {"size": 1}}'`, internal, "reply-invalid", `reply has a field "size"`},
		"answers other types":      {`echo '{"reply": {"totalBytes": "lots"}}'`, internal, "reply-invalid", "totalBytes"},
		"answers less than none":   {`echo '{"reply": {"totalBytes": -1}}'`, internal, "reply-invalid", "totalBytes"},
		"has its handle inside":    {`echo '{"reply": {"handle": 1}}'`, internal, "reply-invalid", "beside the reply"},
		"has a large handle": {
			`printf '{"handle": "%s"}' "$(head -c 70000 /dev/zero | tr '\0' x)"`, internal, "reply-invalid",
			"handle has 70002 bytes, more than 65536",
		},
		"writes without end": {"yes", internal, "too-much-output", "more than 1048576 bytes"},
		"fails": {
			"echo oops >&2; echo words; exit 9", internal, "script-failed",
			`exit code 9; it said: oops; stdout begins with "words\n"`,
		},
		"fails as Python does": {"echo Traceback >&2; exit 1", internal, "script-failed", "exit code 1; it said: Traceback"},
		"fails as sh does":     {"if", internal, "script-failed", "exit code 2"},
		"is killed":            {"kill -9 $$", unknown, "script-killed", "ended by killed"},
		"ends as the killed":   {"exit 137", unknown, "script-killed", "exit code 137, as shells do when killed ended"},
		"leaves others behind": {"setsid sleep 1000 & exit 1", internal, "script-failed", "exit code 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := shell(t, "open-pool", test.text).openPool(t, "op/1")
			refused(t, err, test.class, test.code, test.words)
		})
	}
}

func refused(t *testing.T, err error, class driverpb.Class, code, words string) {
	t.Helper()
	fault := sdk.FaultOf(err)
	if fault.GetClass() != class || fault.GetCode() != code || !strings.Contains(fault.GetMessage(), words) {
		t.Errorf("got %v\nwant %s %s %s", fault, class, code, words)
	}
}

func TestScriptsThatCanNotBeStarted(t *testing.T) {
	t.Parallel()
	for code, spoil := range map[string]func(path string) error{
		"script-missing":        os.Remove,
		"script-not-executable": func(path string) error { return os.Chmod(path, 0o600) },
		"script-not-a-program":  func(path string) error { return os.Truncate(path, 1) },
	} {
		dir := written(t, declared("storage", "open-pool"), "#!/bin/sh\n")
		s := serve(t, dir)
		if err := spoil(filepath.Join(dir, "code", "driver")); err != nil {
			t.Fatal(err)
		}
		_, err := s.openPool(t, "op/1")
		refused(t, err, driverpb.Class_CLASS_INTERNAL, code, filepath.Join(dir, "code", "driver"))
		probed, err := driverpb.NewBaseClient(s.conn).Probe(soon(t), &driverpb.ProbeRequest{})
		if want := driverpb.ProbeReply_HEALTH_UNREADY; err != nil || code == "script-missing" && probed.GetHealth() != want {
			t.Errorf("%s: probed %v, %v", code, probed, err)
		}
	}
}

func TestExits(t *testing.T) {
	t.Parallel()
	s := shell(t, "open-pool", `exits=$(sed 's/.*"token":"op\/\([0-9]*\)".*/\1/')
echo '{"message": "because", "fault": {"code": "it-is-so", "field": "/properties/path", "remedy": "change it"}}'
exit $exits`, "  exits: [{code: 12, class: exhausted}, {code: 3, class: denied}]")
	for exit, class := range map[int]driverpb.Class{
		1: driverpb.Class_CLASS_CONFLICT, 2: driverpb.Class_CLASS_INVALID, 3: driverpb.Class_CLASS_DENIED,
		12: driverpb.Class_CLASS_EXHAUSTED, 75: driverpb.Class_CLASS_TRANSIENT,
	} {
		_, err := s.openPool(t, "op/"+strconv.Itoa(exit))
		refused(t, err, class, "it-is-so", "because")
		if fault := sdk.FaultOf(err); fault.GetField() != "/properties/path" || fault.GetRemedy() != "change it" {
			t.Errorf("exit %d: %v", exit, fault)
		}
	}
	_, err := s.openPool(t, "op/13")
	refused(t, err, driverpb.Class_CLASS_INTERNAL, "script-failed", "exit code 13")
	bare := shell(t, "open-pool", "echo '{}'; exit 3")
	_, err = bare.openPool(t, "op/1")
	refused(t, err, driverpb.Class_CLASS_NOT_FOUND, "not-found", "ended with exit code 3 and said no message")
}

// TestEndsInTime: a script that hangs is ended when nobody waits for it any more, with what it started.
func TestEndsInTime(t *testing.T) {
	t.Parallel()
	s := shell(t, "open-pool, stat-pool", `trap '' TERM; echo $$ > "$DRIVER_WORK_DIR/pid.new"
mv "$DRIVER_WORK_DIR/pid.new" "$DRIVER_WORK_DIR/pid-$1"; while :; do sleep 1000; done`)
	client := driverpb.NewStorageClient(s.conn)
	for name, ask := range map[string]func(context.Context) error{
		"open-pool": func(ctx context.Context) error {
			_, err := client.OpenPool(ctx, &driverpb.OpenPoolRequest{Call: call(t, "op/1")})
			return err
		},
		"stat-pool": func(ctx context.Context) error {
			_, err := client.StatPool(ctx, &driverpb.PoolRequest{Call: call(t, "")})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if err := ask(ctx); err == nil {
			t.Error("it does not hang")
		}
		cancel()
		path := filepath.Join(s.work, "pid-"+name)
		eventually(t, "the script ran", func() bool { _, err := os.Stat(path); return err == nil })
		pid, err := strconv.Atoi(strings.TrimSpace(file(t, s.work, "pid-"+name)))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the script is gone", func() bool { return syscall.Kill(pid, 0) != nil })
	}
	var recalled *driverpb.RecallReply
	eventually(t, "the call has ended", func() bool {
		var err error
		recalled, err = driverpb.NewBaseClient(s.conn).Recall(soon(t), &driverpb.RecallRequest{Token: "op/1"})
		return err == nil && recalled.GetState() == driverpb.RecallReply_STATE_DONE
	})
	if recalled.GetFault().GetCode() != "canceled" ||
		recalled.GetFault().GetClass() != driverpb.Class_CLASS_UNKNOWN {
		t.Errorf("its outcome is %v", recalled)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestWordsProgressAndSecrets(t *testing.T) {
	t.Parallel()
	s := shell(t, "open-pool", `mkfifo "$DRIVER_WORK_DIR/go"; echo "the password is open sesame" >&2
echo "progress: 40% copying with open sesame" >&2; cat "$DRIVER_WORK_DIR/go"
echo '{"message": "not open sesame"}'; exit 2`)
	base := driverpb.NewBaseClient(s.conn)
	outcome := make(chan error, 1)
	go func() {
		_, err := s.openPool(t, "op/1")
		outcome <- err
	}()
	var recalled *driverpb.RecallReply
	eventually(t, "progress is told", func() (ok bool) {
		var err error
		recalled, err = base.Recall(soon(t), &driverpb.RecallRequest{Token: "op/1"})
		return err == nil && recalled.GetPercent() == 40
	})
	if recalled.GetMessage() != "copying with (secret)" {
		t.Errorf("told is %v", recalled)
	}
	if err := os.WriteFile(filepath.Join(s.work, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, <-outcome, driverpb.Class_CLASS_INVALID, "bad-input", "not (secret)")
	if said := s.log.String(); !strings.Contains(said, `line="the password is (secret)"`) ||
		strings.Contains(said, "sesame") || strings.Contains(said, "progress") {
		t.Errorf("logged is %s", said)
	}
}

// TestBaseCalls: of those that all drivers have, scripts serve which they like.
func TestBaseCalls(t *testing.T) {
	t.Parallel()
	kept := &driverpb.Handle{Version: 1, Data: []byte("old")}
	about := func(token string) *driverpb.Call {
		made := call(t, token)
		made.Handle = kept
		return made
	}
	none := driverpb.NewBaseClient(shell(t, "open-pool", "exit 9").conn)
	probed, err := none.Probe(soon(t), &driverpb.ProbeRequest{})
	if err != nil || probed.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		t.Errorf("probed: %v, %v", probed, err)
	}
	for name, ask := range map[string]func(driverpb.BaseClient, *driverpb.Call) (*driverpb.OutcomeReply, error){
		"adopt": func(base driverpb.BaseClient, call *driverpb.Call) (*driverpb.OutcomeReply, error) {
			return base.Adopt(soon(t), &driverpb.AdoptRequest{Call: call})
		},
		"release": func(base driverpb.BaseClient, call *driverpb.Call) (*driverpb.OutcomeReply, error) {
			return base.Release(soon(t), &driverpb.ReleaseRequest{Call: call})
		},
	} {
		if got, err := ask(none, about("op/"+name)); err != nil || !proto.Equal(got.GetHandle(), kept) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		for answer, want := range map[string]*driverpb.Handle{
			"{}": kept, `{"handle": null}`: {}, `{"handle": 5}`: {Version: 2, Data: []byte("5")},
		} {
			all := driverpb.NewBaseClient(shell(t, "adopt, release", "echo '"+answer+"'").conn)
			if got, err := ask(all, about("op/"+name)); err != nil || !proto.Equal(got.GetHandle(), want) {
				t.Errorf("%s answered %s: %v, %v", name, answer, got, err)
			}
		}
	}
	all := driverpb.NewBaseClient(shell(t, "probe, configure", `case $1 in
configure) echo '{"message": "no such site"}'; exit 2;;
probe) echo '{"reply": {"health": "degraded", "reason": "slow"}}';;
esac`).conn)
	probed, err = all.Probe(soon(t), &driverpb.ProbeRequest{})
	if err != nil || probed.GetHealth() != driverpb.ProbeReply_HEALTH_DEGRADED || probed.GetReason() != "slow" {
		t.Errorf("probed: %v, %v", probed, err)
	}
	_, err = all.Configure(soon(t), &driverpb.ConfigureRequest{})
	refused(t, err, driverpb.Class_CLASS_INVALID, "bad-input", "no such site")
}

func TestObserve(t *testing.T) {
	t.Parallel()
	observe := func(text string) ([]*driverpb.Observed, error) {
		stream, err := driverpb.NewBaseClient(shell(t, "observe", text).conn).
			Observe(soon(t), &driverpb.ObserveRequest{Call: call(t, "")})
		if err != nil {
			t.Fatal(err)
		}
		var all []*driverpb.Observed
		for {
			one, err := stream.Recv()
			if err != nil {
				return all, err
			}
			all = append(all, one)
		}
	}
	got, _ := observe(`echo '{"reply": {"observed": [{"name": "a", "bytes": 5, "state": "present",
"resource": {"kind": "volume", "id": "vol-1"}, "facts": {"x": [1]}}, {"name": "b", "state": "foreign"}]}}'`)
	if len(got) != 2 || got[0].GetBytes() != 5 || got[0].GetResource().GetId() != "vol-1" || got[1].GetName() != "b" ||
		got[0].GetFacts().AsMap()["x"].([]any)[0] != 1.0 {
		t.Errorf("got %v", got)
	}
	for _, wrong := range []string{"{}", `{"reply": {"observed": [1]}}`, `{"reply": {"observed": [{"x": 1}]}}`} {
		_, err := observe("echo '" + wrong + "'")
		refused(t, err, driverpb.Class_CLASS_INTERNAL, "reply-invalid", "observed")
	}
}
