package instrument

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Reading is what of a driver's text can be shown.
type Reading struct {
	// Families in the order of their names, as the driver named them.
	Families []*dto.MetricFamily
	// Series is how many there are in all.
	Series int
	// Refused are the metrics that are left out, by name.
	Refused []Refusal
}

// Refusal says why a metric is left out.
type Refusal struct{ Name, Reason string }

// String is for people.
func (r Refusal) String() string { return r.Name + ": " + r.Reason }

// Read reads a text. It fails when there is too much of it or it is not in the format at all; a single metric that
// breaks a rule is left out of the reading and named in it.
func Read(text []byte, limits Limits) (Reading, error) {
	if err := measure(text, limits); err != nil {
		return Reading{}, fmt.Errorf("reading metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	found, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return Reading{}, fmt.Errorf("reading metrics: %s", short(err.Error()))
	}
	r := Reading{}
	taken := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		reason := check(found[name], limits)
		if reason == "" {
			reason = r.full(found[name], taken, limits)
		}
		if reason != "" {
			r.Refused = append(r.Refused, Refusal{short(name), reason})
			continue
		}
		for _, n := range Names(found[name]) {
			taken[n] = true
		}
		r.Families = append(r.Families, found[name])
		r.Series += seriesOf(found[name])
	}
	return r, nil
}

// measure refuses what is too much before anything is made of it.
func measure(text []byte, limits Limits) error {
	switch lines := bytes.Count(text, []byte{'\n'}); {
	case len(text) > limits.Bytes:
		return fmt.Errorf("there are %d bytes, %d are allowed", len(text), limits.Bytes)
	case lines > limits.Lines:
		return fmt.Errorf("there are %d lines, %d are allowed", lines, limits.Lines)
	case len(text) > 0 && text[len(text)-1] != '\n':
		return errors.New("the last line does not end")
	}
	return nil
}

// full says why there is no room for a metric beside those that there are; "" = there is.
func (r *Reading) full(f *dto.MetricFamily, taken map[string]bool, limits Limits) string {
	switch {
	case slices.ContainsFunc(Names(f), func(n string) bool { return taken[n] }):
		return "a series of another metric has its name"
	case len(r.Families) >= limits.Families:
		return fmt.Sprintf("there are %d metrics before it, which is the limit", limits.Families)
	case r.Series+seriesOf(f) > limits.Series:
		return fmt.Sprintf("with it there would be more than %d series", limits.Series)
	}
	return ""
}

// Names are those that the series of a metric have on the page, the metric's own among them.
func Names(f *dto.MetricFamily) []string {
	name := f.GetName()
	if f.GetType() != dto.MetricType_HISTOGRAM {
		return []string{name}
	}
	return []string{name, name + "_bucket", name + "_sum", name + "_count"}
}

// seriesOf counts the series of a metric.
func seriesOf(f *dto.MetricFamily) (n int) {
	for _, m := range f.GetMetric() {
		n++
		if m.Histogram != nil {
			n += len(m.GetHistogram().GetBucket()) + 1
		}
	}
	return n
}

// longestShown bounds what is shown of words that a driver chose.
const longestShown = 120

// short makes words of a driver fit to be shown.
func short(words string) string {
	words = strings.ToValidUTF8(words, "\uFFFD")
	if len(words) > longestShown {
		words = strings.ToValidUTF8(words[:longestShown], "") + " ..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, words)
}

var (
	nameSyntax  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	labelSyntax = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`)
)

// check says why a metric can't be shown; "" = it can. It makes canonical what differs without meaning anything.
func check(f *dto.MetricFamily, limits Limits) string {
	if reason := checkHead(f, limits); reason != "" {
		return reason
	}
	seen := map[string]bool{}
	for _, m := range f.GetMetric() {
		m.TimestampMs = nil // it is as old as the answer
		reason, key := checkLabels(m.GetLabel(), limits)
		switch {
		case reason == "" && seen[key]:
			return "two of its series have the same labels"
		case reason == "":
			reason = checkValue(m)
		}
		if reason != "" {
			return reason
		}
		seen[key] = true
	}
	return ""
}

func checkHead(f *dto.MetricFamily, limits Limits) string {
	switch {
	case !nameSyntax.MatchString(f.GetName()):
		return "a name has small letters, digits and underscores, and begins with a letter"
	case len(f.GetName()) > limits.Name:
		return fmt.Sprintf("its name has more than %d bytes", limits.Name)
	case len(f.GetHelp()) > limits.Help || !utf8.ValidString(f.GetHelp()):
		return fmt.Sprintf("its help is no text of at most %d bytes", limits.Help)
	}
	switch f.GetType() {
	case dto.MetricType_COUNTER, dto.MetricType_GAUGE, dto.MetricType_HISTOGRAM:
		return ""
	default:
		return "its TYPE is none of counter, gauge and histogram"
	}
}

// checkLabels says what is wrong with the labels of a series, and names them in one text.
func checkLabels(labels []*dto.LabelPair, limits Limits) (reason, key string) {
	if len(labels) > limits.Labels {
		return fmt.Sprintf("a series has more than %d labels", limits.Labels), ""
	}
	slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	var words strings.Builder
	for i, l := range labels {
		reason := checkLabel(l, limits)
		if reason == "" && i > 0 && labels[i-1].GetName() == l.GetName() {
			reason = "a series has the label " + l.GetName() + " twice"
		}
		if reason != "" {
			return reason, ""
		}
		fmt.Fprintf(&words, "%s=%q,", l.GetName(), l.GetValue())
	}
	return "", words.String()
}

func checkLabel(l *dto.LabelPair, limits Limits) string {
	name := l.GetName()
	switch {
	case slices.Contains([]string{LabelDriver, LabelVersion, LabelInstance}, name):
		return "the label " + name + " is the host's"
	case name == "le" || name == "quantile" || strings.HasPrefix(name, "__"):
		return "the label " + short(name) + " has a meaning of its own"
	case !labelSyntax.MatchString(name) || len(name) > limits.Name:
		return "the name of a label is none"
	case len(l.GetValue()) > limits.Value || !utf8.ValidString(l.GetValue()):
		return fmt.Sprintf("the value of the label %s is no text of at most %d bytes", name, limits.Value)
	}
	return ""
}
