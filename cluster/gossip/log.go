package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// warningsPerPeriod is how many warnings of memberlist are passed on in a logPeriod: whoever can send a packet
	// can cause one.
	warningsPerPeriod = 20
	logPeriod         = 10 * time.Second
)

// libraryLog turns lines of memberlist into records. What it does not pass on is counted in the next period.
type libraryLog struct {
	log *slog.Logger
	// suspected hears the name of a member that this node suspects: memberlist tells nobody but its log.
	suspected func(name string)

	closed <-chan struct{} // what it complains about after that is its own end

	mu      sync.Mutex
	since   time.Time
	passed  int
	dropped int
}

// Write implements io.Writer for one line.
func (l *libraryLog) Write(line []byte) (int, error) {
	select {
	case <-l.closed:
		return len(line), nil
	default:
	}
	text := string(bytes.TrimSpace(line))
	level := slog.LevelDebug
	if at := strings.IndexByte(text, '['); at >= 0 { // before it are date and time
		text = text[at:]
	}
	severity, message, _ := strings.Cut(text, "] ")
	switch severity {
	case "[WARN", "[ERR", "[ERROR":
		level = slog.LevelWarn
	default:
	}
	message = strings.TrimPrefix(message, "memberlist: ")
	if name, ok := strings.CutPrefix(message, "Suspect "); ok {
		if name, ok = strings.CutSuffix(name, " has failed, no acks received"); ok {
			l.suspected(name)
		}
	}
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return len(line), nil
	}
	attrs := []slog.Attr{slog.String("text", message)}
	if level == slog.LevelWarn {
		dropped, ok := l.admit(time.Now())
		if !ok {
			return len(line), nil
		}
		if dropped > 0 {
			attrs = append(attrs, slog.Int("dropped", dropped))
		}
	}
	l.log.LogAttrs(ctx, level, "gossip", attrs...)
	return len(line), nil
}

// admit reports whether another warning may be written now, and how many were not since the last one.
func (l *libraryLog) admit(now time.Time) (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= logPeriod {
		l.since, l.passed = now, 0
	}
	if l.passed >= warningsPerPeriod {
		l.dropped++
		return 0, false
	}
	l.passed++
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}
