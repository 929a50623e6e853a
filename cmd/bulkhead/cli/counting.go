package cli

import (
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// amount is a flag that says how many; 0 = all.
type amount int

var errAmount = errors.New("must be a whole number, 0 or more")

// String returns the number.
func (n *amount) String() string { return strconv.Itoa(int(*n)) }

// Set reads the number.
func (n *amount) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 {
		return errAmount
	}
	*n = amount(v)
	return nil
}

// Type says in the help what is expected.
func (n *amount) Type() string { return "number" }

// span is a flag that says how long, such as 30s; 0 = no limit.
type span time.Duration

var errSpan = errors.New("must be how long, such as 30s or 5m")

// String returns how long.
func (s *span) String() string {
	if *s == 0 {
		return "0"
	}
	return time.Duration(*s).String()
}

// Set reads how long; a number alone means seconds.
func (s *span) Set(text string) error {
	if n, err := strconv.Atoi(text); err == nil {
		text = strconv.Itoa(n) + "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errSpan
	}
	*s = span(d)
	return nil
}

// Type says in the help what is expected.
func (s *span) Type() string { return "duration" }

// limiting adds the flag that bounds a list.
func limiting(cmd *cobra.Command, usage string) {
	cmd.Flags().Var(new(amount), "limit", usage)
}

// amountOf is what was given with a flag of that kind.
func amountOf(cmd *cobra.Command, flag string) int {
	if n, ok := cmd.Flags().Lookup(flag).Value.(*amount); ok {
		return int(*n)
	}
	return 0
}

// timeoutOf is how long a command waits; 0 = for ever.
func timeoutOf(cmd *cobra.Command) time.Duration {
	if flag := cmd.Flags().Lookup("timeout"); flag != nil {
		if s, ok := flag.Value.(*span); ok {
			return time.Duration(*s)
		}
	}
	return 0
}
