package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Line is a check in one line, for those who watch.
func (c Check) Line() string {
	word := map[Verdict]string{Passed: "ok", Failed: "FAIL", NotApplicable: "n/a"}[c.Verdict]
	line := fmt.Sprintf("%-4s %s", word, c.Name)
	if c.Why != "" {
		line += " (" + c.Why + ")"
	}
	return line
}

// WriteText writes what people want to read: what failed, with what was asked, answered and promised; what did not
// apply; and the verdict for each sentence of the contract.
func (r Report) WriteText(to io.Writer) error {
	out := bufio.NewWriter(to)
	for _, c := range r.Checks {
		if c.Failed() {
			c.explain(out)
		}
	}
	r.writeSkipped(out)
	r.writeSentences(out)
	fmt.Fprintf(out, "%s %s: %d passed, %d failed, %d not applicable, in %.1f s", r.Driver, r.Version, r.Count(Passed),
		r.Count(Failed), r.Count(NotApplicable), r.Seconds)
	if r.Isolation != "" {
		fmt.Fprintf(out, " (%s)", r.Isolation)
	}
	fmt.Fprintln(out)
	return out.Flush()
}

// explain tells all that is known of a check that failed.
func (c Check) explain(out io.Writer) {
	fmt.Fprintf(out, "FAILED %s\n", c.Name)
	for _, said := range c.Log {
		fmt.Fprintf(out, "  %s\n", indent(said, "  "))
	}
	fmt.Fprintf(out, "  The contract (%s): %s\n", c.Contract.Place, c.Contract.Text)
	if len(c.Calls) > 0 {
		fmt.Fprintf(out, "  The last %d calls:\n", len(c.Calls))
	}
	for _, call := range c.Calls {
		fmt.Fprintf(out, "  %8.3f s  %s %s\n", call.At, call.Method, call.Asked)
		answer := call.Answered
		if call.Error != "" {
			answer = "error: " + call.Error
		}
		fmt.Fprintf(out, "              -> %s\n", indent(answer, "              "))
	}
	fmt.Fprintln(out)
}

func indent(text, by string) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by+"  ")
}

// writeSkipped lists what did not apply, by reason.
func (r Report) writeSkipped(out io.Writer) {
	var reasons []string
	by := map[string][]string{}
	for _, c := range r.Checks {
		if c.Verdict != NotApplicable {
			continue
		}
		if by[c.Why] == nil {
			reasons = append(reasons, c.Why)
		}
		by[c.Why] = append(by[c.Why], c.Name)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		fmt.Fprintf(out, "NOT APPLICABLE: %s\n", why)
		for _, name := range by[why] {
			fmt.Fprintf(out, "  %s\n", name)
		}
		fmt.Fprintln(out)
	}
}

func (r Report) writeSentences(out io.Writer) {
	fmt.Fprintln(out, "THE CONTRACT, SENTENCE BY SENTENCE")
	for _, s := range r.Sentences() {
		fmt.Fprintf(out, "  %-14s %s: %s (%d checks", s.Verdict, s.Place, s.Text, len(s.Checks))
		if len(s.Broken) > 0 {
			fmt.Fprintf(out, ", %d failed", len(s.Broken))
		}
		fmt.Fprintln(out, ")")
	}
	fmt.Fprintln(out)
}
