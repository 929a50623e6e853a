package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const greeting = `{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0}},"capabilities":["oob"]}}`

// fakeMonitor is QEMU's side of a connection: it greets, and answers each command by what script returns.
type fakeMonitor struct {
	t      *testing.T
	conn   net.Conn
	script func(name string, id uint64) []string
}

func (f fakeMonitor) serve() {
	defer f.conn.Close()
	if _, err := fmt.Fprintln(f.conn, greeting); err != nil {
		return
	}
	lines := bufio.NewScanner(f.conn)
	for lines.Scan() {
		var command struct {
			Execute string `json:"execute"`
			ID      uint64 `json:"id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			f.t.Errorf("the client sent %q: %v", lines.Text(), err)
			return
		}
		if command.Execute == "qmp_capabilities" {
			fmt.Fprintf(f.conn, `{"return":{},"id":%d}`+"\n", command.ID)
			continue
		}
		answers := f.script(command.Execute, command.ID)
		if answers == nil {
			return // hang up
		}
		for _, answer := range answers {
			fmt.Fprintln(f.conn, answer)
		}
	}
}

// connect returns a client of a fake monitor.
func connect(t *testing.T, script func(name string, id uint64) []string) *qmp.Client {
	t.Helper()
	ours, theirs := net.Pipe()
	var monitor sync.WaitGroup
	monitor.Go(fakeMonitor{t, theirs, script}.serve)
	client, err := qmp.New(t.Context(), ours)
	if err != nil {
		t.Fatalf("opening the monitor: %v", err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		monitor.Wait()
	})
	return client
}

func result(id uint64, value string) string {
	return fmt.Sprintf(`{"return":%s,"id":%d}`, value, id)
}

func TestExecute(t *testing.T) {
	client := connect(t, func(name string, id uint64) []string {
		switch name {
		case "query-status":
			return []string{
				`{"event":"RTC_CHANGE","timestamp":{"seconds":1,"microseconds":0}}`,
				result(id+1000, `{"status":"of another"}`),
				result(id, `{"status":"running"}`),
			}
		case "stop":
			return []string{fmt.Sprintf(`{"error":{"class":"GenericError","desc":"no"},"id":%d}`, id)}
		default:
			return []string{result(id, `[]`)}
		}
	})
	if client.Version() != "7.2.0" {
		t.Errorf("version %q, want 7.2.0", client.Version())
	}
	var status struct{ Status string }
	if err := client.Execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Errorf("query-status: %q, %v, want running", status.Status, err)
	}
	err := client.Execute(t.Context(), "stop", nil, nil)
	if refusal, ok := errors.AsType[*qmp.Error](err); !ok || refusal.Description != "no" {
		t.Errorf("stop: %v, want the refusal", err)
	}
	if err := client.Execute(t.Context(), "query-block", nil, &status); err == nil {
		t.Error("an answer of another type was accepted")
	}
}

func TestExecuteManyAtATime(t *testing.T) {
	var mutex sync.Mutex
	var waiting []uint64
	client := connect(t, func(_ string, id uint64) []string {
		mutex.Lock()
		defer mutex.Unlock()
		waiting = append(waiting, id)
		if len(waiting) < 8 {
			return []string{}
		}
		var answers []string // in reverse order
		for _, id := range slices.Backward(waiting) {
			answers = append(answers, result(id, fmt.Sprint(id)))
		}
		return answers
	})
	var calls sync.WaitGroup
	seen := make(chan uint64, 8)
	for range 8 {
		calls.Go(func() {
			var id uint64
			if err := client.Execute(t.Context(), "ask", nil, &id); err != nil {
				t.Errorf("ask: %v", err)
			}
			seen <- id
		})
	}
	calls.Wait()
	distinct := map[uint64]bool{}
	for range 8 {
		distinct[<-seen] = true
	}
	if len(distinct) != 8 {
		t.Errorf("%d distinct answers, want 8", len(distinct))
	}
}

func TestExecuteEndsWithContext(t *testing.T) {
	client := connect(t, func(string, uint64) []string { return []string{} })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := client.Execute(ctx, "never-answered", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the deadline", err)
	}
}

func TestConnectionEnds(t *testing.T) {
	cases := map[string]func(string, uint64) []string{
		"hang up":   func(string, uint64) []string { return nil },
		"garbage":   func(string, uint64) []string { return []string{"what?"} },
		"long line": func(string, uint64) []string { return []string{`{"return":"` + strings.Repeat("x", 5<<20) + `"}`} },
	}
	for name, script := range cases {
		t.Run(name, func(t *testing.T) {
			client := connect(t, script)
			if err := client.Execute(t.Context(), "quit", nil, nil); err == nil {
				t.Error("no error")
			}
			<-client.Done()
			if err := client.Execute(t.Context(), "query-status", nil, nil); err == nil {
				t.Error("no error after the end")
			}
		})
	}
}

func TestAnswerTogetherWithTheEnd(t *testing.T) {
	client := connect(t, func(name string, id uint64) []string {
		if name == "quit" {
			return []string{result(id, "{}"), "hang up"}
		}
		return nil
	})
	if err := client.Execute(t.Context(), "quit", nil, nil); err != nil {
		t.Errorf("quit: %v, want no error: it was answered", err)
	}
}

func TestGreeting(t *testing.T) {
	cases := map[string]string{
		"none":         "",
		"no QMP":       `{"return":{}}`,
		"another text": "SSH-2.0-OpenSSH",
	}
	for name, first := range cases {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			var other sync.WaitGroup
			other.Go(func() {
				defer theirs.Close()
				if first != "" {
					fmt.Fprintln(theirs, first)
				}
			})
			defer other.Wait()
			if _, err := qmp.New(t.Context(), ours); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestGreetingNeverComes(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := qmp.New(ctx, ours); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the deadline", err)
	}
}

func TestSubscription(t *testing.T) {
	client := connect(t, func(_ string, id uint64) []string {
		var lines []string
		for i := range 100 {
			lines = append(lines,
				fmt.Sprintf(`{"event":"RESET","data":%d,"timestamp":{"seconds":1,"microseconds":0}}`, i),
				`{"event":"STOP","timestamp":{"seconds":1,"microseconds":0}}`)
		}
		return append(lines, result(id, "{}"))
	})
	resets := client.Subscribe("RESET")
	defer resets.Close()
	closed := client.Subscribe()
	closed.Close()
	if err := client.Execute(t.Context(), "flood", nil, nil); err != nil {
		t.Fatalf("flood: %v", err)
	}
	count, last := 0, ""
	for len(resets.Events()) > 0 {
		event := <-resets.Events()
		if event.Name != "RESET" {
			t.Fatalf("event %q, want RESET only", event.Name)
		}
		count, last = count+1, string(event.Data)
	}
	if count == 0 || count >= 100 || last != "99" {
		t.Errorf("%d events, the last one %s, want fewer than 100 and the newest", count, last)
	}
	if len(closed.Events()) != 0 {
		t.Error("a closed subscription got events")
	}
}
