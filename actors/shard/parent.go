package shard

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// parent is the actor of a shard: the parent of its resources. All its fields belong to its goroutine.
type parent struct {
	shard  *Shard
	prefix string
	began  time.Time
	byName map[string]*resource
	agenda agenda
	timer  *time.Timer
	alarm  time.Duration // when the timer fires; zero when it does not
	fenced bool          // what the resources were told last
}

// Receive is the whole protocol of a shard.
func (p *parent) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		p.start(c)
	case *actor.Stopping, *actor.Restarting:
		p.stop(c)
	case *actor.Terminated:
		p.terminated(c, m.Who)
	case *idle:
		p.idle(c, m)
	case *due:
		p.look(c)
	case *gateChanged:
		p.gateChanged(c)
	case *Retry:
		p.retry(c, m)
	case Addressed:
		p.route(c, m)
	}
}

func (p *parent) start(c actor.Context) {
	p.prefix = c.Self().Id + "/"
	p.began = time.Now()
	p.byName = make(map[string]*resource)
	p.shard.running.Store(&address{c.ActorSystem().Root, c.Self()})
	p.fenced = p.shard.Fenced() // whoever changes it from now on tells the actor
}

// stop is called before the resources are stopped. From here on the mailbox of the shard takes no message.
func (p *parent) stop(c actor.Context) {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.agenda = nil
	for _, r := range p.byName {
		p.refuseHeld(c, r, mailbox.Stopped, "")
		p.forget(r)
	}
	p.byName = nil
}

// route hands a message on to its resource, which becomes active if it is not.
func (p *parent) route(c actor.Context, m Addressed) {
	_, control := m.(mailbox.Control)
	if !control && p.shard.Fenced() {
		mailbox.Reject(c, mailbox.Foreign, "")
		return
	}
	r := p.byName[m.Resource()]
	if r == nil {
		var err error
		if r, err = p.activate(c, m.Resource()); err != nil {
			mailbox.Reject(c, mailbox.Crashed, err.Error())
			return
		}
	}
	switch {
	case r.stopping:
		p.hold(c, r)
	case r.trouble.bars(control):
		mailbox.Reject(c, mailbox.Parked, r.trouble.cause)
	default:
		c.Forward(r.pid)
	}
}

// hold keeps a message for the next activation of a resource that is being passivated.
func (p *parent) hold(c actor.Context, r *resource) {
	if len(r.held) >= p.shard.settings.Queue.Work {
		mailbox.Reject(c, mailbox.WorkFull, "")
		return
	}
	p.shard.counts.held.Add(1)
	r.held = append(r.held, &actor.MessageEnvelope{Message: c.Message(), Sender: c.Sender()})
}

// activate starts the actor of a resource. What panics in it must not take down the shard.
func (p *parent) activate(c actor.Context, name string) (r *resource, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("activating %s: %v", name, cause)
		}
		if err != nil {
			p.shard.settings.Log.Error("resource not activated", slog.String("resource", name), slog.Any("error", err))
		}
	}()
	box, ok := p.shard.produce().(*mailbox.Mailbox)
	if !ok {
		return nil, fmt.Errorf("activating %s: not our mailbox", name)
	}
	settings := &p.shard.settings
	produce := settings.Activate(Activation{Resource: name, Shard: settings.ID, Epoch: settings.Epoch})
	props := actor.PropsFromProducer(func() actor.Actor { return &guard{produce(), settings.Log} },
		actor.WithMailbox(func() actor.Mailbox { return box }))
	pid, err := c.SpawnNamed(props, name)
	if err != nil {
		return nil, fmt.Errorf("activating %s: %w", name, err)
	}
	r = &resource{name: name, pid: pid, box: box, slot: noSlot}
	p.byName[name] = r
	p.shard.counts.active.Add(1)
	p.shard.counts.activations.Add(1)
	return r, nil
}

// find returns the active resource whose actor is pid; nil when there is none. An earlier activation had an equal PID:
// what it says late must not be taken for a word of this one.
func (p *parent) find(pid *actor.PID) *resource {
	r := p.byName[strings.TrimPrefix(pid.Id, p.prefix)]
	if r == nil || r.pid != pid {
		return nil
	}
	return r
}

func (p *parent) forget(r *resource) {
	p.shard.counts.active.Add(-1)
	if r.trouble != nil && r.trouble.parked {
		p.shard.counts.parked.Add(-1)
	}
}

// terminated is called when an actor has ended. Messages that came in the meantime start it again.
func (p *parent) terminated(c actor.Context, pid *actor.PID) {
	r := p.find(pid)
	if r == nil {
		return
	}
	delete(p.byName, r.name)
	p.agenda.remove(r)
	p.forget(r)
	if len(r.held) == 0 {
		return
	}
	next, err := p.activate(c, r.name)
	if err != nil {
		p.refuseHeld(c, r, mailbox.Crashed, err.Error())
		return
	}
	for _, envelope := range r.held {
		c.Send(next.pid, envelope)
	}
}

func (p *parent) refuseHeld(c actor.Context, r *resource, reason mailbox.Reason, cause string) {
	for _, held := range r.held {
		_, message, sender := actor.UnwrapEnvelope(held)
		if sender != nil {
			c.Send(sender, &mailbox.Rejected{Reason: reason, Message: message, Cause: cause})
		}
	}
	r.held = nil
}

// idle is called when a resource says that it has nothing left to do.
func (p *parent) idle(c actor.Context, m *idle) {
	r := p.find(m.who)
	if r == nil || r.stopping {
		return
	}
	r.idle, r.received = true, m.received
	if r.trouble != nil && (r.trouble.waiting || r.trouble.parked) {
		return // what is due comes first
	}
	p.planPassivation(c, r)
}

// planPassivation passivates an idle resource now or sets the time for it. One that crashed lately stays, so that its
// crashes are not forgotten.
func (p *parent) planPassivation(c actor.Context, r *resource) {
	at := p.now() + p.shard.settings.IdleAfter
	if r.trouble != nil {
		at = max(at, r.trouble.last+p.shard.settings.Backoff.Forget)
	}
	if at > p.now() {
		p.agenda.schedule(r, at)
		p.setAlarm()
		return
	}
	p.passivate(c, r)
}

// passivate stops a resource, unless something happened since it said that it is idle.
func (p *parent) passivate(c actor.Context, r *resource) {
	if !r.idle || !r.box.Retire(r.received) {
		return
	}
	r.stopping = true
	p.agenda.remove(r)
	p.shard.counts.passivations.Add(1)
	c.Stop(r.pid) // the mailbox takes nothing any more and holds nothing: nothing can be lost
}

// gateChanged lets the resources know that the shard was fenced or unfenced.
func (p *parent) gateChanged(c actor.Context) {
	fenced := p.shard.Fenced()
	if fenced && p.fenced {
		return
	}
	p.fenced = fenced // whoever was not told that it was fenced in between may still have held work back
	epoch := p.shard.settings.Epoch
	for _, r := range p.byName {
		if fenced {
			c.Send(r.pid, &Fenced{Epoch: epoch})
			continue
		}
		c.Send(r.pid, &Unfenced{Epoch: epoch}) // which also makes its mailbox look at the gate again
	}
}

func (p *parent) now() time.Duration { return time.Since(p.began) }
