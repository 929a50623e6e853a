package shard

import (
	"container/heap"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// The bounds of the time between two looks at the agenda. Being late is harmless; looking too often is not.
const (
	shortestTick = time.Millisecond
	longestTick  = time.Second
)

var _ actor.SupervisorStrategy = (*parent)(nil)

// HandleFailure is called by the actor library when a resource's actor panicked. The actor is started afresh at once so
// that it answers control, with its work held back for a while that grows with each crash. When it crashes even while
// its work is held back, the restart itself waits as long. So no crash can come in a hot loop, whatever causes it.
func (p *parent) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	_ *actor.RestartStatistics, reason, _ any,
) {
	r := p.find(child)
	if r == nil || r.stopping {
		return // it was told to stop already
	}
	now := p.now()
	t, delay := p.count(r, now)
	t.cause = causeOf(reason)
	r.idle = false
	r.box.Close(mailbox.Failed)
	if !t.down {
		supervisor.RestartChildren(child)
	}
	p.report(r, reason, delay)
	p.agenda.remove(r)
	if t.waiting || t.down {
		p.agenda.schedule(r, now+delay)
		p.setAlarm()
	}
}

// count adds a crash to the trouble of a resource, and returns how long to wait for its work, or for its restart.
func (p *parent) count(r *resource, now time.Duration) (*trouble, time.Duration) {
	backoff := p.shard.settings.Backoff
	t := r.trouble
	if t == nil || !t.waiting && !t.parked && now-t.last > backoff.Forget {
		t = &trouble{}
		r.trouble = t
	}
	t.count++
	t.last = now
	t.down = t.waiting || t.parked
	if t.count >= backoff.Attempts && !t.parked {
		t.parked = true
		p.shard.counts.parked.Add(1)
	}
	t.waiting = !t.parked
	return t, backoff.delay(t.count)
}

func causeOf(reason any) string {
	if panicked, ok := reason.(*mailbox.Panic); ok {
		return panicked.String()
	}
	return slog.AnyValue(reason).String()
}

func (p *parent) report(r *resource, reason any, delay time.Duration) {
	t := r.trouble
	p.shard.counts.crashes.Add(1)
	attrs := []any{
		slog.String("resource", r.name), slog.Int("count", t.count), slog.String("cause", t.cause),
		slog.Duration("retry", delay), slog.Bool("parked", t.parked),
	}
	if panicked, ok := reason.(*mailbox.Panic); ok {
		attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
	}
	p.shard.settings.Log.Error("resource crashed", attrs...)
	if p.shard.settings.Crashed != nil {
		p.shard.settings.Crashed(Crash{
			Resource: r.name, Count: t.count, Retry: delay, Parked: t.parked, Cause: t.cause,
		})
	}
}

// retry lets a parked resource work again.
func (p *parent) retry(c actor.Context, m *Retry) {
	r := p.byName[m.Name]
	parked := r != nil && r.trouble != nil && r.trouble.parked
	if parked {
		p.shard.counts.parked.Add(-1)
		p.agenda.remove(r)
		t := r.trouble
		t.count, t.parked, t.waiting = 0, false, t.down
		p.comeBack(c, r)
		if !t.waiting {
			r.trouble = nil
		}
	}
	if c.Sender() != nil {
		c.Respond(&Retried{WasParked: parked})
	}
}

// comeBack does what was put off for a resource that crashed: its restart if it is down, otherwise its work.
func (p *parent) comeBack(c actor.Context, r *resource) {
	t := r.trouble
	if !t.down {
		t.waiting = false
		r.box.Open(mailbox.Failed)
		if r.idle {
			p.planPassivation(c, r)
		}
		return
	}
	t.down = false
	if process, ok := c.ActorSystem().ProcessRegistry.Get(r.pid); ok {
		process.SendSystemMessage(r.pid, &actor.Restart{})
	}
	if !t.parked {
		p.agenda.schedule(r, p.now()+p.shard.settings.Backoff.delay(t.count))
		p.setAlarm()
	}
}

// look does what is due.
func (p *parent) look(c actor.Context) {
	p.alarm = 0
	for len(p.agenda) > 0 && p.agenda[0].due <= p.now() {
		r, _ := heap.Pop(&p.agenda).(*resource)
		if t := r.trouble; t != nil {
			if t.waiting || t.down {
				p.comeBack(c, r)
				continue
			}
			if p.now()-t.last >= p.shard.settings.Backoff.Forget {
				r.trouble = nil
			}
		}
		p.passivate(c, r)
	}
	p.setAlarm()
}

// setAlarm makes the one timer of the shard fire when the next thing is due, or a tick later.
func (p *parent) setAlarm() {
	if len(p.agenda) == 0 {
		return
	}
	now := p.now()
	tick := min(max(p.shard.settings.IdleAfter/16, shortestTick), longestTick)
	at := max(p.agenda[0].due, now+tick)
	if p.alarm != 0 && p.alarm <= at {
		return
	}
	p.alarm = at
	if p.timer == nil {
		p.timer = time.AfterFunc(at-now, func() { p.shard.tell(&due{}) })
		return
	}
	p.timer.Reset(at - now)
}
