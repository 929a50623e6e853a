package mailbox_test

import (
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// model is a mailbox as its documentation describes it, without a thought to speed or memory.
type model struct {
	t                *rapid.T
	box              *mailbox.Mailbox
	stage            *stage
	counts           *counter
	shared           *mailbox.Shared
	control, work    []any
	maxControl       int
	maxWork          int
	gate, sharedGate mailbox.Gate
	suspended        bool
	retired, shut    bool
	received         uint64
	refused          int
	next             int
	handled          int
}

func (m *model) number() int { m.next++; return m.next }

// settle runs the mailbox and the model and compares what they handled, and in what order.
func (m *model) settle() {
	var want []any
	if !m.suspended {
		want = append(want, m.control...)
		m.control = nil
		if m.gate|m.sharedGate == 0 {
			want = append(want, m.work...)
			m.work = nil
		}
	}
	got := m.stage.run()
	m.handled += len(got)
	if !slices.Equal(got, want) {
		m.t.Fatalf("handled %v, want %v", got, want)
	}
}

func (m *model) post(message any, queue *[]any, limit int, always bool) {
	switch {
	case m.shut, !always && (m.retired || len(*queue) >= limit):
		m.refused++
	default:
		*queue = append(*queue, message)
		m.received++
	}
	m.box.PostUserMessage(message)
}

func (m *model) retire() {
	received := m.received
	if rapid.Bool().Draw(m.t, "stale") {
		received--
	}
	want := !m.shut && !m.retired && received == m.received && len(m.control)+len(m.work) == 0 &&
		m.gate|m.sharedGate == 0 && !m.suspended
	if got := m.box.Retire(received); got != want {
		m.t.Fatalf("Retire: got %v, want %v", got, want)
	}
	m.retired = m.retired || want
}

func (m *model) stop() {
	m.refused += len(m.control) + len(m.work)
	m.control, m.work, m.shut = nil, nil, true
	m.box.PostSystemMessage(&actor.Stop{})
	m.settle()
}

func (m *model) check(*rapid.T) {
	control, work := m.box.Depth()
	if control != len(m.control) || work != len(m.work) {
		m.t.Fatalf("depth: got %d and %d, want %d and %d", control, work, len(m.control), len(m.work))
	}
	if got, want := m.box.Closed(), m.gate|m.sharedGate; got != want {
		m.t.Fatalf("closed: got %v, want %v", got, want)
	}
	if got := m.counts.refusals(); got != m.refused {
		m.t.Fatalf("refused: got %d, want %d", got, m.refused)
	}
	if got, quiet := m.box.Quiet(); got != m.received || quiet != (control+work == 0) {
		m.t.Fatalf("received: got %d, quiet %t, want %d", got, quiet, m.received)
	}
	if sum := uint64(m.handled + control + work); !m.shut && sum != m.received {
		m.t.Fatalf("lost: %d handled or waiting of %d", sum, m.received)
	}
}

func (m *model) actions() map[string]func(*rapid.T) {
	bits := func() mailbox.Gate { return mailbox.Gate(rapid.IntRange(1, 31).Draw(m.t, "bits")) }
	return map[string]func(*rapid.T){
		"work":       func(*rapid.T) { m.post(work{m.number()}, &m.work, m.maxWork, false) },
		"control":    func(*rapid.T) { m.post(control{m.number()}, &m.control, m.maxControl, false) },
		"completion": func(*rapid.T) { m.post(completion{m.number()}, &m.control, 0, true) },
		"enveloped": func(*rapid.T) {
			m.post(&actor.MessageEnvelope{Message: work{m.number()}}, &m.work, m.maxWork, false)
		},
		"poison": func(*rapid.T) { m.post(&actor.PoisonPill{}, &m.work, 0, true) },
		"close":  func(*rapid.T) { b := bits(); m.gate |= b; m.box.Close(b) },
		"open":   func(*rapid.T) { b := bits(); m.gate &^= b; m.box.Open(b) },
		"closeShared": func(*rapid.T) {
			m.sharedGate |= mailbox.Fenced
			m.shared.Close(mailbox.Fenced)
		},
		"openShared": func(*rapid.T) {
			m.sharedGate = 0
			m.shared.Open(mailbox.Fenced)
			m.box.Wake()
		},
		"suspend": func(*rapid.T) { // the library does both in its own time; settle makes the mailbox see it
			m.settle()
			m.suspended = true
			m.box.PostSystemMessage(&actor.SuspendMailbox{})
			m.settle()
		},
		"resume": func(*rapid.T) {
			m.suspended = false
			m.box.PostSystemMessage(&actor.ResumeMailbox{})
			m.settle()
		},
		"settle": func(*rapid.T) { m.settle() },
		"retire": func(*rapid.T) { m.retire() },
		"":       m.check,
	}
}

func TestMailboxBehavesLikeItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, counts: newCounter(), shared: &mailbox.Shared{}}
		m.maxControl = rapid.IntRange(1, 4).Draw(t, "max control")
		m.maxWork = rapid.IntRange(1, 40).Draw(t, "max work")
		m.box, m.stage = staged(mailbox.Settings{
			Work: m.maxWork, Control: m.maxControl, Shared: m.shared, Observer: m.counts,
		})
		t.Repeat(m.actions())
		m.settle()
		m.stop()
		m.post(completion{m.number()}, &m.control, 0, true)
		m.check(t)
	})
}

// A handler that closes the gate must see no further work message, whatever waits and whatever else it does.
func TestNoWorkPassesAGateThatAHandlerClosed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		box, s := staged(mailbox.Settings{})
		closeAt := rapid.SliceOfN(rapid.Bool(), 1, 60).Draw(t, "close at")
		closed := mailbox.Gate(0)
		s.onHandle = func(message any) {
			w, isWork := message.(work)
			if isWork && closed != 0 {
				t.Fatalf("work %d passed a closed gate", w.n)
			}
			if isWork && closeAt[w.n] {
				closed = mailbox.Busy
				box.Close(closed)
				box.PostUserMessage(completion(w))
			}
			if c, ok := message.(completion); ok {
				closed = 0
				box.PostUserMessage(control(c))
				box.Open(mailbox.Busy)
			}
		}
		for i := range closeAt {
			box.PostUserMessage(work{i})
		}
		var order []int
		for _, message := range s.run() {
			if w, ok := message.(work); ok {
				order = append(order, w.n)
			}
		}
		if len(order) != len(closeAt) || !slices.IsSorted(order) {
			t.Fatalf("work was handled in the order %v", order)
		}
	})
}
