package attacks_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

var rewrite = flag.Bool("rewrite", false, "write the table into docs/security.md instead of comparing with it")

const (
	document   = "../../../docs/security.md"
	tableBegin = "<!-- what follows is written by make attacks -->\n"
	tableEnd   = "<!-- up to here -->\n"
)

// table says in Markdown what is possible under each report.
func table(all []setting, reports []*sandbox.Report) string {
	var text strings.Builder
	text.WriteString("| attack | refused by any of |")
	for _, s := range all {
		fmt.Fprintf(&text, " %s |", s.name)
	}
	text.WriteString("\n|---|---|" + strings.Repeat("---|", len(all)) + "\n| *level* | |")
	for _, report := range reports {
		fmt.Fprintf(&text, " *%s* |", report.Level)
	}
	group, possible := "", make([]int, len(all))
	for _, a := range battery() {
		if a.group != group {
			group = a.group
			fmt.Fprintf(&text, "\n| **%s** | |%s", group, strings.Repeat(" |", len(all)))
		}
		fmt.Fprintf(&text, "\n| %s | %s |", a.name, strings.Join(a.stops, ", "))
		for n, report := range reports {
			word := "refused"
			if a.possible(report) {
				word = "**possible**"
				possible[n]++
			}
			fmt.Fprintf(&text, " %s |", word)
		}
	}
	fmt.Fprintf(&text, "\n| *possible, of %d* | |", len(battery()))
	for _, n := range possible {
		fmt.Fprintf(&text, " *%d* |", n)
	}
	text.WriteString("\n")
	return text.String()
}

// compareDocument holds the table in the document to what was found, where the kernel has all there is.
func compareDocument(t *testing.T, want string, reports []*sandbox.Report) {
	t.Helper()
	if !reports[0].Has(sandbox.MechanismScope) || architectureAttacks() == nil {
		t.Log("docs/security.md is not compared: it is about Linux 6.12 and newer on amd64")
		return
	}
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(content), tableBegin)
	written, after, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		t.Fatalf("%s has no place for the table, between %q and %q", document, tableBegin, tableEnd)
	}
	if *rewrite {
		text := strings.Join([]string{before, tableBegin, want, tableEnd, after}, "")
		if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if written != want {
		t.Errorf("the table in docs/security.md is not what was found. If the change is meant, run make attacks. Lines:\n%s",
			strings.Join(differing(written, want), "\n"))
	}
}

// differing are the lines of want that written does not have.
func differing(written, want string) []string {
	lines := strings.Split(written, "\n")
	return slices.DeleteFunc(strings.Split(want, "\n"), func(line string) bool { return slices.Contains(lines, line) })
}

// TestNamesOfAttacks holds the battery to names that tell its attacks apart.
func TestNamesOfAttacks(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range battery() {
		if seen[a.name] || len(a.stops) == 0 || (a.try == nil) == (a.tryAtHost == nil) {
			t.Errorf("%q is there twice, is refused by nothing, or is not one thing to try", a.name)
		}
		seen[a.name] = true
	}
}
