package simfault

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRules bounds what one text may hold.
const maxRules = 4096

// Parse reads rules separated by newlines or semicolons; empty ones are passed over. Its errors name the rule, counted
// from 1, and the word at fault.
func Parse(text string) ([]Rule, error) {
	var rules []Rule
	for count := 1; text != ""; count++ {
		pairs, rest, err := split(text)
		if err != nil {
			return nil, fmt.Errorf("fault rule %d: %w", count, err)
		}
		text = rest
		if len(pairs) == 0 {
			count--
			continue
		}
		rule, err := build(pairs)
		if err != nil {
			return nil, fmt.Errorf("fault rule %d: %w", count, err)
		}
		if rules = append(rules, rule); len(rules) > maxRules {
			return nil, fmt.Errorf("more than %d fault rules", maxRules)
		}
	}
	return rules, nil
}

// ParseFile reads the content of a control file: a JSON array of strings, each holding rules.
func ParseFile(content []byte) ([]Rule, error) {
	var texts []string
	if err := json.Unmarshal(content, &texts); err != nil {
		return nil, fmt.Errorf("a file of fault rules is a JSON array of strings: %w", err)
	}
	var rules []Rule
	for i, text := range texts {
		more, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("string %d: %w", i+1, err)
		}
		rules = append(rules, more...)
	}
	return rules, nil
}

// FormatFile writes rules as ParseFile reads them.
func FormatFile(rules []Rule) ([]byte, error) {
	texts := make([]string, len(rules))
	for i, rule := range rules {
		texts[i] = rule.String()
	}
	content, err := json.MarshalIndent(texts, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding fault rules: %w", err)
	}
	return append(content, '\n'), nil
}

// pair is one word of a rule with its value, unquoted.
type pair struct{ key, value string }

// split takes the words of the first rule off text.
func split(text string) (pairs []pair, rest string, err error) {
	for {
		text = strings.TrimLeft(text, " \t\r")
		if text == "" {
			return pairs, "", nil
		}
		if text[0] == '\n' || text[0] == ';' {
			return pairs, text[1:], nil
		}
		end := strings.IndexAny(text, "= \t\r\n;")
		if end <= 0 || text[end] != '=' {
			word, _, _ := strings.Cut(strings.TrimLeft(text, "="), " ")
			return nil, "", fmt.Errorf("%q is not key=value", clip(word))
		}
		p := pair{key: text[:end]}
		if p.value, text, err = value(text[end+1:]); err != nil {
			return nil, "", fmt.Errorf("%s: %w", clip(p.key), err)
		}
		pairs = append(pairs, p)
	}
}

// value takes one value off text: quoted as in Go, or up to the next space or separator.
func value(text string) (unquoted, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, " \t\r\n;")
		if end < 0 {
			end = len(text)
		}
		if strings.Contains(text[:end], `"`) {
			return "", "", errors.New("a quote inside a value: quote the whole value")
		}
		return text[:end], text[end:], nil
	}
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return "", "", errors.New("the quoted value does not end")
	}
	rest = text[len(quoted):]
	if rest != "" && !strings.ContainsAny(rest[:1], " \t\r\n;") {
		return "", "", errors.New("text right after a quoted value")
	}
	unquoted, err = strconv.Unquote(quoted)
	if err != nil {
		return "", "", fmt.Errorf("reading quoted value: %w", err)
	}
	return unquoted, rest, nil
}

func build(pairs []pair) (Rule, error) {
	var rule Rule
	known := words()
	var seen []word
	for _, p := range pairs {
		at := slices.IndexFunc(known, func(w word) bool { return w.key == p.key })
		if at < 0 {
			return Rule{}, fmt.Errorf("unknown word %q; known are %s", clip(p.key), keys(known))
		}
		if slices.ContainsFunc(seen, func(w word) bool { return w.key == p.key }) {
			return Rule{}, fmt.Errorf("%s is given twice", p.key)
		}
		if p.value == "" {
			return Rule{}, fmt.Errorf("%s has no value", p.key)
		}
		if err := known[at].read(&rule, p.value); err != nil {
			return Rule{}, fmt.Errorf("%s=%s: %w", p.key, clip(p.value), err)
		}
		seen = append(seen, known[at])
	}
	return rule, rule.check(seen)
}

// Check reports what is wrong with a rule made in code: what Parse would refuse.
func (r Rule) Check() error {
	if r == (Rule{}) {
		return r.check(nil)
	}
	_, err := Parse(r.String())
	return err
}

func (r Rule) check(used []word) error {
	if r.Action == "" {
		return fmt.Errorf("action is missing; it is one of %v", actions())
	}
	for _, w := range used {
		if w.actions != nil && !slices.Contains(w.actions, r.Action) {
			return fmt.Errorf("%s goes with %v, not with %s", w.key, w.actions, r.Action)
		}
	}
	if err := r.checkWhen(); err != nil {
		return err
	}
	return r.checkAction()
}

// checkWhen looks at what says which matches fire.
func (r Rule) checkWhen() error {
	ways := 0
	for _, way := range []bool{r.Nth > 0, r.Every > 0, r.Prob > 0} {
		if way {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("nth, every and prob exclude each other")
	case r.Seed != 0 && r.Prob == 0:
		return errors.New("seed goes with prob")
	}
	return nil
}

// checkAction looks at what the action needs.
func (r Rule) checkAction() error {
	switch {
	case (r.Action == Delay || r.Action == SlowStart) && r.For == 0 && r.Jitter == 0:
		return fmt.Errorf("%s needs for", r.Action)
	case r.For+r.Jitter < 0 || r.Jitter < 0 || r.For < 0:
		return fmt.Errorf("for and jitter must be between 0 and %s", time.Duration(1<<63-1))
	case r.Action == FloodLog && r.Lines == 0:
		return errors.New("flood-log needs lines")
	case r.Action == LeakMemory && r.Bytes == 0:
		return errors.New("leak-memory needs bytes")
	}
	return nil
}

// String writes the rule in canonical form: Parse reads it back as an equal rule. It is also what firings are counted
// by.
func (r Rule) String() string {
	var out strings.Builder
	for _, w := range words() {
		value := w.write(r)
		if value == "" {
			continue
		}
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(w.key)
		out.WriteByte('=')
		if strings.ContainsAny(value, " \t\r\n;\"\\=") || strconv.Quote(value) != `"`+value+`"` {
			value = strconv.Quote(value)
		}
		out.WriteString(value)
	}
	return out.String()
}

func keys(known []word) string {
	names := make([]string, len(known))
	for i, w := range known {
		names[i] = w.key
	}
	return strings.Join(names, ", ")
}

// clip keeps error texts short.
func clip(text string) string {
	const limit = 40
	if len(text) > limit {
		return text[:limit] + "…"
	}
	return text
}
