package badgerstore

import (
	"fmt"
	"log/slog"
	"strings"
)

// logger hands Badger's messages to slog. What Badger takes for information is detail to us.
type logger struct{ log *slog.Logger }

// Errorf implements badger.Logger.
func (l logger) Errorf(format string, args ...any) { l.log.Error("badger", text(format, args)) }

// Warningf implements badger.Logger.
func (l logger) Warningf(format string, args ...any) { l.log.Warn("badger", text(format, args)) }

// Infof implements badger.Logger.
func (l logger) Infof(format string, args ...any) { l.log.Debug("badger", text(format, args)) }

// Debugf implements badger.Logger. These are one per write.
func (l logger) Debugf(string, ...any) {}

func text(format string, args []any) slog.Attr {
	return slog.String("text", strings.TrimSpace(fmt.Sprintf(format, args...)))
}
