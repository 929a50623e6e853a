package qmp

import "slices"

// queueLength bounds the events a subscription holds. A guest can cause events; it must not cause memory.
const queueLength = 64

// Subscription receives events of some names. A reader that is slow loses the oldest events, never the newest:
// whoever waits for something asks QEMU again at the end of the wait.
type Subscription struct {
	client *Client
	names  []string
	events chan Event
}

// Subscribe starts to collect events of the given names; of all, without any. Close it after use.
func (c *Client) Subscribe(names ...string) *Subscription {
	subscription := &Subscription{client: c, names: names, events: make(chan Event, queueLength)}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.subscriptions[subscription] = struct{}{}
	return subscription
}

// Events yields what happened since Subscribe. It is never closed; watch Client.Done too.
func (s *Subscription) Events() <-chan Event {
	return s.events
}

// Close ends the subscription. Idempotent.
func (s *Subscription) Close() {
	s.client.mutex.Lock()
	defer s.client.mutex.Unlock()
	delete(s.client.subscriptions, s)
}

// offer is called with the client's mutex held, by one goroutine.
func (s *Subscription) offer(event Event) {
	if len(s.names) > 0 && !slices.Contains(s.names, event.Name) {
		return
	}
	for {
		select {
		case s.events <- event:
			return
		default:
		}
		select {
		case <-s.events: // drop the oldest
		default:
		}
	}
}
