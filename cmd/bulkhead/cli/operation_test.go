package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// background runs a command beside the test.
type background struct {
	t           *testing.T
	out, errors *output
	code        chan int
	cancel      context.CancelFunc
}

func (s *site) background(stdin string, args ...string) *background {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	b := &background{s.t, &output{}, &output{}, make(chan int, 1), cancel}
	go func() { b.code <- s.start(ctx, stdin, b.out, b.errors, args...) }()
	s.t.Cleanup(cancel)
	return b
}

// until waits for a text in an output.
func (b *background) until(o *output, text string) {
	b.t.Helper()
	late := time.After(20 * time.Second)
	for {
		now, more := o.next()
		if strings.Contains(now, text) {
			return
		}
		select {
		case <-more:
		case <-late:
			b.t.Fatalf("%q did not come in 20 s; there is:\n%s\n%s", text, b.out, b.errors)
		}
	}
}

// running is the operation that is queued or under way.
func (s *site) running() string {
	s.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		page, err := s.zone.List(s.t.Context(), resources.Query{
			Kind: resources.KindOperation, Phases: []resources.Phase{resources.PhaseQueued, resources.PhaseRunning},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		if len(page.Items) > 0 {
			return page.Items[0].Metadata().ID
		}
	}
	s.t.Fatal("no operation was accepted in 20 s")
	return ""
}

func TestAnOperationIsShownStepByStep(t *testing.T) {
	s := newSite(t, true)
	b := s.background("", "volume", "create", "data", "--size", "1GiB")
	id := s.running()
	s.zone.Progress(id, 50, "copying")
	b.until(b.errors, "create data: create running")
	s.zone.Finish(id)
	if code := <-b.code; code != 0 {
		t.Fatalf("exit %d: %s", code, b.errors)
	}
	want := "create data: prepare done\ncreate data: create running: copying\ncreate data: create done\n"
	if b.errors.String() != want || b.out.String() != "volume data: created\n" {
		t.Errorf("printed\n%s\n%s", b.errors, b.out)
	}
}

func TestInterruptingDetachesAndLeavesTheOperation(t *testing.T) {
	s := newSite(t, true)
	b := s.background("", "volume", "create", "data", "--size", "1GiB")
	id := s.running()
	s.zone.Progress(id, 50, "copying")
	b.until(b.errors, "running")
	b.cancel()
	if code := <-b.code; code != 130 {
		t.Errorf("exit %d, want 130", code)
	}
	if !strings.Contains(b.errors.String(), "bulkhead operation watch "+id) {
		t.Errorf("it does not say how to go on:\n%s", b.errors)
	}
	again := s.background("", "operation", "watch", id)
	again.until(again.errors, "running")
	s.zone.Finish(id)
	if code := <-again.code; code != 0 || again.out.String() != "volume data: created\n" {
		t.Errorf("watching again: exit %d\n%s%s", code, again.out, again.errors)
	}
}

func TestOperationsThatDoNotEndWell(t *testing.T) {
	for name, c := range map[string]struct {
		class resources.Class
		code  int
	}{
		"no room": {resources.ClassExhausted, 6}, "in use": {resources.ClassConflict, 4}, "late": {resources.ClassTimeout, 7},
		"a mistake": {resources.ClassInternal, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, true)
			b := s.background("", "volume", "create", "data", "--size", "1GiB")
			s.zone.Fail(s.running(), &resources.Error{
				Class:   c.class,
				Code:    "a-code",
				Message: "it did not work",
				Remedy:  "do this",
				Fields:  []resources.FieldError{{Pointer: "/spec/sizeBytes", Message: "is too much"}},
				Reasons: []resources.Reason{
					{Candidate: resources.Ref{Kind: "pool", ID: "p"}, Name: "fast", Check: "space", Message: "is full"},
				},
			})
			if code := <-b.code; code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			for _, part := range []string{
				"volume data: create failed: it did not work", "spec.sizeBytes is too much", "pool fast", "is full",
				"To do: do this", "a-code",
			} {
				if !strings.Contains(b.errors.String(), part) {
					t.Errorf("%q is not in\n%s", part, b.errors)
				}
			}
		})
	}
}

func TestCancelling(t *testing.T) {
	s := newSite(t, true)
	first := s.run("volume", "create", "data", "--size", "1GiB", "--no-wait")
	id := strings.TrimSpace(first.out)
	b := s.background("", "operation", "watch", id)
	b.until(b.errors, "") // begun
	if r := s.run("operation", "cancel", id); r.code != 0 {
		t.Errorf("cancelling: exit %d %s", r.code, r.err)
	}
	if code := <-b.code; code != 4 || !strings.Contains(b.errors.String(), "was cancelled") {
		t.Errorf("who watched sees exit %d\n%s", code, b.errors)
	}
	if r := s.run("operation", "cancel", id); r.code != 4 {
		t.Errorf("cancelling what has ended: exit %d", r.code)
	}
}

func TestAnOperationThatNeedsAnOperator(t *testing.T) {
	s := newSite(t, true)
	id := s.zone.Add(&resources.Operation{
		Meta: resources.Meta{
			Kind:  resources.KindOperation,
			Phase: resources.PhaseNeedsOperator,
		},
		Action:     "delete",
		TargetName: "data",
		Target:     resources.Ref{Kind: resources.KindVolume, ID: "vol-1"},
		Error: &resources.Error{
			Class:   resources.ClassUnknown,
			Code:    "lost",
			Message: "the disk does not answer",
			Remedy:  "look at it.",
		},
	})
	r := s.run("operation", "watch", id)
	if r.code != 8 || !strings.Contains(r.err, "needs an operator: the disk does not answer") ||
		!strings.Contains(r.err, "look at it. Then: bulkhead operation retry "+id+"; or unwind") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := s.run(
		"operation",
		"retry",
		id,
		"--no-wait",
		"-o",
		"json",
	); r.code != 0 ||
		!strings.Contains(r.out, `"resolution": "retry"`) {
		t.Errorf("exit %d: %s %s", r.code, r.out, r.err)
	}
}

func TestChangesAsData(t *testing.T) {
	s := newSite(t, false)
	r := s.run("volume", "create", "data", "--size", "1GiB", "-o", "json")
	if r.code != 0 || !strings.Contains(r.out, `"phase": "succeeded"`) || r.err != "" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := s.run("volume", "create", "data", "--size", "1GiB", "-o", "yaml"); r.code != 4 || r.out != "" {
		t.Errorf("a failure: exit %d, printed %q", r.code, r.out)
	}
}

func TestACreationFromAFile(t *testing.T) {
	s := newSite(t, false)
	file := filepath.Join(t.TempDir(), "v.yaml")
	body := "name: data\nlabels:\n  tier: db\nspec:\n  sizeBytes: 1048576\n  poolTags: [ssd]\n"
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.run("volume", "create", "other", "-f", file, "--size", "2MiB"); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	v := s.zone.Submissions()[0].Resource.(*resources.Volume)
	if v.Name != "other" || v.Spec.SizeBytes != 2<<20 || v.Labels["tier"] != "db" || v.Spec.PoolTags[0] != "ssd" {
		t.Errorf("made %+v", v)
	}
	var out, errors output
	if code := s.start(t.Context(), `{"name":"c","spec":{}}`, &out, &errors, "cluster", "create", "-f", "-"); code != 0 {
		t.Errorf("from standard input: exit %d %s", code, &errors)
	}
	if r := s.run("volume", "create", "-f", "/nowhere"); r.code != 2 {
		t.Errorf("a file that is not there: exit %d", r.code)
	}
}

func TestAnUpload(t *testing.T) {
	s := newSite(t, false)
	file := filepath.Join(t.TempDir(), "image.raw")
	content := strings.Repeat("0123456789abcdef", 1<<16)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.run("template", "create", "mine", "--format", "raw", "--file", file, "--upload")
	if r.code != 0 || r.out != "template mine: created\n" || !strings.Contains(r.err, "uploading: 100 % of 1 MiB") {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	made := s.zone.Submissions()[0].Resource.(*resources.Template)
	if !made.Spec.Upload || made.Spec.File != "" || !strings.HasPrefix(made.Spec.Checksum, "sha256:") {
		t.Errorf("asked for %+v", made.Spec)
	}
	for _, got := range s.zone.Spooled() {
		if string(got) != content {
			t.Error("what arrived is not what was sent")
		}
	}
	if r := s.run("template", "create", "x", "--format", "raw", "--upload"); r.code != 2 {
		t.Errorf("without a file: exit %d", r.code)
	}
}

func TestEventsAreWatched(t *testing.T) {
	s := newSite(t, false)
	b := s.background("", "event", "watch", "--since", "0", "--count", "3", "-o", "json")
	s.run("cluster", "create", "c1")
	if code := <-b.code; code != 0 {
		t.Fatalf("exit %d: %s", code, b.errors)
	}
	if n := strings.Count(b.out.String(), "\n"); n != 3 || !strings.Contains(b.out.String(), `"kind":"zone"`) {
		t.Errorf("got %d lines:\n%s", n, b.out)
	}
	live := s.background("", "event", "watch", "--kind", "cluster", "--since", "1")
	live.until(live.out, "created  cluster c1")
	live.cancel()
	if code := <-live.code; code != 0 {
		t.Errorf("leaving: exit %d %s", code, live.errors)
	}
	if r := s.run("event", "watch", "--since", "99999"); r.code != 4 || !strings.Contains(r.err, "not reached yet") {
		t.Errorf("what is to come: exit %d: %s", r.code, r.err)
	}
	s.zone.Compact()
	if r := s.run("event", "watch", "--since", "1"); r.code != 4 || !strings.Contains(r.err, "no longer kept") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestAConsole(t *testing.T) {
	s := newSite(t, false)
	s.furnish()
	b := s.background("hello\x1dnever sent", "machine", "console", "db")
	if code := <-b.code; code != 0 {
		t.Fatalf("exit %d: %s", code, b.errors)
	}
	watching := s.background("", "machine", "console", "db", "--read-only")
	watching.until(watching.out, "serial console")
	watching.cancel()
	if code := <-watching.code; code != 0 {
		t.Errorf("leaving: exit %d: %s", code, watching.errors)
	}
	if r := s.run("machine", "console", "nobody"); r.code != 3 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
