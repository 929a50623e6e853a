package mailbox

import (
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// What a zero in Settings means.
const (
	DefaultWork    = 1024
	DefaultControl = 256
)

// Settings are shared by all mailboxes of one producer.
type Settings struct {
	// Work is the most messages the work lane holds; zero means DefaultWork.
	Work int
	// Control is the most messages the control lane holds, completions not counted in; zero means DefaultControl.
	Control int
	// Shared is a second gate, in front of all mailboxes of the producer; nil for none.
	Shared *Shared
	// Observer is told what happens in the lanes; nil for nobody.
	Observer Observer
}

// Observer measures mailboxes. Its methods are called from the goroutines of senders and actors, concurrently, and
// must be quick and must not send messages.
type Observer interface {
	// Accepted is called after a message was queued; depth counts the messages of its lane, it included.
	Accepted(lane Lane, depth int)
	// Taken is called before a message is handled; wait is how long it was queued.
	Taken(lane Lane, wait time.Duration)
	// Refused is called for every message that gets a [Rejected].
	Refused(lane Lane, reason Reason)
}

// source is what the mailboxes of one producer have in common.
type source struct {
	Settings
	pool  sync.Pool // of *chunk
	began time.Time
}

// Producer returns a function that makes mailboxes, for [actor.WithMailbox]. Any number of actors may share it.
func Producer(settings Settings) actor.MailboxProducer {
	if settings.Work <= 0 {
		settings.Work = DefaultWork
	}
	if settings.Control <= 0 {
		settings.Control = DefaultControl
	}
	s := &source{Settings: settings, began: time.Now()}
	return func() actor.Mailbox { return &Mailbox{source: s} }
}

// now returns the time since the producer was made; zero when nobody observes.
func (s *source) now() time.Duration {
	if s.Observer == nil {
		return 0
	}
	return time.Since(s.began)
}

func (s *source) accepted(lane Lane, depth int) {
	if s.Observer != nil {
		s.Observer.Accepted(lane, depth)
	}
}

func (s *source) taken(lane Lane, posted time.Duration) {
	if s.Observer != nil {
		s.Observer.Taken(lane, s.now()-posted)
	}
}

func (s *source) refused(lane Lane, reason Reason) {
	if s.Observer != nil {
		s.Observer.Refused(lane, reason)
	}
}
