package ha

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Principal is who the automation asks as.
const Principal = "automation/ha"

// Zone is what the automation can ask of a zone: its public API.
type Zone interface {
	// List returns all resources that a query selects, whatever its limit.
	List(ctx context.Context, q resources.Query) ([]resources.Resource, error)
	// Submit asks for an operation.
	Submit(ctx context.Context, s resources.Submission) (*resources.Operation, error)
}

// Config of the automation.
type Config struct {
	Zone Zone
	// Active says whether this one is to act; nil = always. Two that act do no harm.
	Active func() bool
	// Every is the time from one look at the zone to the next; default 2 s.
	Every time.Duration
	Log   *slog.Logger
}

const (
	every = 2 * time.Second
	// The wait after an attempt that failed doubles up to the longest.
	firstWait   = 15 * time.Second
	longestWait = 5 * time.Minute
)

// Service is the automation.
type Service struct{ config Config }

// New makes the automation; Run runs it.
func New(c Config) *Service {
	c.Every = cmp.Or(c.Every, every)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{config: c}
}

// Run looks at the zone again and again until ctx ends.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(s.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.config.Active != nil && !s.config.Active() {
			continue
		}
		if err := s.Look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.config.Log.Warn("looking after lost hosts failed", slog.Any("error", err))
		}
	}
}

// Look looks at the zone once and asks for what is to be done now.
func (s *Service) Look(ctx context.Context, now time.Time) error {
	l, err := s.read(ctx, now)
	if err != nil || len(l.lost) == 0 {
		return err
	}
	open, many := l.breaker()
	if !open {
		if err := s.restart(ctx, l); err != nil {
			return err
		}
	}
	for _, h := range l.lost { // before a fence is asked for, which alarms would wait for
		words := l.complaint(h)
		if open && len(l.wanting[h.ID]) > 0 {
			words = many
		}
		if err := s.alarm(ctx, l, h, words); err != nil {
			return err
		}
	}
	if open {
		return nil
	}
	for _, h := range l.lost {
		if err := s.prove(ctx, l, h); err != nil {
			return err
		}
	}
	return nil
}

// prove asks for proof that a host does not run, where machines on it are to be recovered
// and there is somebody to ask.
func (s *Service) prove(ctx context.Context, l *look, h *resources.Host) error {
	if h.Fenced() || len(l.wanting[h.ID]) == 0 || h.Spec.OutOfBand == nil {
		return nil
	}
	failed, open, last := count(l.since(h.ID, "fence", h.Status.Suspicion.Since))
	if open || last != nil && l.now.Before(last.EndedAt.Add(wait(failed))) {
		return nil
	}
	_, err := s.ask(ctx, h.Ref(), "fence", resources.Arguments{}, l.mark(h), failed)
	return err
}

// restart has the machines of fenced hosts started elsewhere, those of high priority first.
func (s *Service) restart(ctx context.Context, l *look) error {
	room := l.settings.AtOnce - l.under
	for _, m := range l.inOrder() {
		if room <= 0 {
			return nil
		}
		h := l.host(m.Status.HostID)
		failed, open, last := count(l.since(m.ID, "recover", h.Status.Suspicion.Since))
		if open || failed > 0 && l.now.Before(last.EndedAt.Add(wait(failed))) {
			continue
		}
		refusal, err := s.ask(ctx, m.Ref(), "recover", resources.Arguments{}, l.mark(h), failed)
		switch {
		case err != nil:
			return err
		case refusal != nil:
			l.refused[m.ID] = refusal
		default:
			room--
		}
	}
	return nil
}

// alarm has it said on the host what keeps its machines from being recovered, once, and
// taken back when that is over.
func (s *Service) alarm(ctx context.Context, l *look, h *resources.Host, words string) error {
	said := ""
	if h.Status.Alarm != nil {
		said = h.Status.Alarm.Message
	}
	asked := l.since(h.ID, "alarm", h.Status.Suspicion.Since)
	if said == words || slices.ContainsFunc(asked, func(op *resources.Operation) bool { return !op.Ended() }) {
		return nil
	}
	if words != "" {
		s.config.Log.Warn("machines of a lost host wait", slog.String("host", h.ID), slog.String("why", words))
	}
	sum := sha256.Sum256([]byte(words))
	mark := l.mark(h) + "/" + hex.EncodeToString(sum[:6])
	_, err := s.ask(ctx, h.Ref(), "alarm", resources.Arguments{Statement: words}, mark, len(asked))
	return err
}

// ask asks for an operation. Asked for the same once more, also by another of this
// automation, it is the same operation: the key follows from what was seen. A refusal is
// no error: the next look tells whether it is still so.
func (s *Service) ask(
	ctx context.Context, target resources.Ref, action string, a resources.Arguments, mark string, attempt int,
) (refusal *resources.Error, err error) {
	key := fmt.Sprintf("ha/%s/%s/%s/%d", action, target.ID, mark, attempt)
	sum := sha256.Sum256([]byte(key))
	_, err = s.config.Zone.Submit(ctx, resources.Submission{
		Action: action, Target: target, Arguments: a, IdempotencyKey: key, Fingerprint: sum[:],
		Origin: resources.Origin{Principal: Principal},
	})
	switch resources.ClassOf(err) {
	case "":
		s.config.Log.Info("asked for", slog.String("action", action), slog.String("resource", target.String()))
		return nil, nil
	case resources.ClassConflict, resources.ClassNotFound, resources.ClassExhausted, resources.ClassInvalid:
		s.config.Log.Debug("refused", slog.String("action", action), slog.String("resource", target.String()),
			slog.Any("error", err))
		return resources.AsError(err), nil
	default:
		return nil, fmt.Errorf("asking for %s of %s: %w", action, target, err)
	}
}

// count tells how many of some operations failed, whether one has not ended, and which
// ended last.
func count(ops []*resources.Operation) (failed int, open bool, last *resources.Operation) {
	for _, op := range ops {
		if !op.Ended() {
			open = true
			continue
		}
		if last == nil || op.EndedAt.After(last.EndedAt) {
			last = op
		}
		failed++ // one that succeeded did not help either
	}
	return failed, open, last
}

func wait(failed int) time.Duration {
	if failed <= 0 {
		return 0
	}
	return min(firstWait<<min(failed-1, 10), longestWait)
}

// inOrder lists the machines that can be recovered now: by priority, then by name.
func (l *look) inOrder() (list []*resources.Machine) {
	for _, h := range l.lost {
		if h.Fenced() {
			list = append(list, l.wanting[h.ID]...)
		}
	}
	slices.SortFunc(list, func(a, b *resources.Machine) int {
		return cmp.Or(cmp.Compare(b.Spec.Recovery.Priority, a.Spec.Recovery.Priority), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.ID, b.ID))
	})
	return list
}
