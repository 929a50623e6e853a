package simfault

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// word is one key of the language: for which actions it may be used, how its value is read into a rule, and how it is
// written again. Write returns the empty string for the default.
type word struct {
	key     string
	actions []Action // nil = all
	read    func(r *Rule, value string) error
	write   func(r Rule) string
}

// words lists the language in the order in which a rule is written.
func words() []word {
	timed := []Action{Delay, SlowStart}
	sided := []Action{Error, Delay, Hang, FloodLog, LeakMemory}
	errorOnly := []Action{Error}
	return []word{
		text("name", nil, func(r *Rule) *string { return &r.Name }),
		text("call", nil, func(r *Rule) *string { return &r.Call }),
		text("kind", nil, func(r *Rule) *string { return &r.Kind }),
		text("resource", nil, func(r *Rule) *string { return &r.Resource }),
		text("token", nil, func(r *Rule) *string { return &r.Token }),
		number("nth", nil, func(r *Rule) *uint64 { return &r.Nth }),
		number("every", nil, func(r *Rule) *uint64 { return &r.Every }),
		{key: "prob", read: readProb, write: writeProb},
		number("seed", nil, func(r *Rule) *uint64 { return &r.Seed }),
		number("times", nil, func(r *Rule) *uint64 { return &r.Times }),
		{key: "action", read: readAction, write: func(r Rule) string { return string(r.Action) }},
		{key: "at", actions: sided, read: readPoint, write: func(r Rule) string { return string(r.At) }},
		{key: "class", actions: errorOnly, read: readClass, write: writeClass},
		text("code", errorOnly, func(r *Rule) *string { return &r.Code }),
		text("message", errorOnly, func(r *Rule) *string { return &r.Message }),
		text("field", errorOnly, func(r *Rule) *string { return &r.Field }),
		text("remedy", errorOnly, func(r *Rule) *string { return &r.Remedy }),
		duration("for", timed, func(r *Rule) *time.Duration { return &r.For }),
		duration("jitter", timed, func(r *Rule) *time.Duration { return &r.Jitter }),
		{key: "ignore-cancel", actions: []Action{Hang}, read: readIgnore, write: writeIgnore},
		number("lines", []Action{FloodLog}, func(r *Rule) *uint64 { return &r.Lines }),
		number("bytes", []Action{LeakMemory}, func(r *Rule) *uint64 { return &r.Bytes }),
	}
}

func text(key string, actions []Action, at func(*Rule) *string) word {
	return word{
		key: key, actions: actions,
		read:  func(r *Rule, value string) error { *at(r) = value; return nil },
		write: func(r Rule) string { return *at(&r) },
	}
}

func number(key string, actions []Action, at func(*Rule) *uint64) word {
	return word{
		key: key, actions: actions,
		read: func(r *Rule, value string) error {
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return errors.New("must be a whole number, 0 or more")
			}
			*at(r) = n
			return nil
		},
		write: func(r Rule) string {
			if *at(&r) == 0 {
				return ""
			}
			return strconv.FormatUint(*at(&r), 10)
		},
	}
}

func duration(key string, actions []Action, at func(*Rule) *time.Duration) word {
	return word{
		key: key, actions: actions,
		read: func(r *Rule, value string) error {
			d, err := time.ParseDuration(value)
			if err != nil || d < 0 {
				return errors.New("must be a duration such as 250ms or 3s")
			}
			*at(r) = d
			return nil
		},
		write: func(r Rule) string {
			if *at(&r) == 0 {
				return ""
			}
			return at(&r).String()
		},
	}
}

func readProb(r *Rule, value string) error {
	p, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(p) || p < 0 || p > 1 {
		return errors.New("must be a number from 0 to 1")
	}
	if p == 0 {
		return errors.New("0 never fires: leave the rule out")
	}
	r.Prob = p
	return nil
}

func writeProb(r Rule) string {
	if r.Prob == 0 {
		return ""
	}
	return strconv.FormatFloat(r.Prob, 'g', -1, 64)
}

func actions() []Action {
	return []Action{
		Error, Delay, Hang, CrashBeforeEffect, CrashAfterEffect, LoseAnswer, LieSuccess, LieSize, SlowStart,
		FloodLog, LeakMemory,
	}
}

func readAction(r *Rule, value string) error {
	if !slices.Contains(actions(), Action(value)) {
		return fmt.Errorf("must be one of %v", actions())
	}
	r.Action = Action(value)
	return nil
}

func readPoint(r *Rule, value string) error {
	switch Point(value) {
	case Before:
		r.At = "" // the default, so that rules of equal meaning are equal
	case After:
		r.At = After
	default:
		return errors.New("must be before or after")
	}
	return nil
}

func readClass(r *Rule, value string) error {
	name := "CLASS_" + strings.ToUpper(strings.ReplaceAll(value, "-", "_"))
	class, ok := driverpb.Class_value[name]
	if !ok || class == 0 || value != strings.ToLower(value) || strings.Contains(value, "_") {
		return errors.New("must be a fault class in lower case, such as invalid, not-found, transient or unknown")
	}
	r.Class = driverpb.Class(class)
	return nil
}

func writeClass(r Rule) string {
	if r.Class == driverpb.Class_CLASS_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(r.Class.String(), "CLASS_"), "_", "-"))
}

func readIgnore(r *Rule, value string) error {
	ignore, err := strconv.ParseBool(value)
	if err != nil {
		return errors.New("must be true or false")
	}
	r.IgnoreCancel = ignore
	return nil
}

func writeIgnore(r Rule) string {
	if !r.IgnoreCancel {
		return ""
	}
	return "true"
}
