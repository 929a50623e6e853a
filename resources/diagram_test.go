package resources_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

const diagramFile = "../docs/phases.md"

// rewrite makes the file anew: go test ./resources -rewrite.
func rewriting() bool {
	f := flag.Lookup("rewrite")
	return f != nil && f.Value.String() == "true"
}

func TestMain(m *testing.M) {
	flag.Bool("rewrite", false, "make docs/phases.md anew")
	flag.Parse()
	os.Exit(m.Run())
}

func TestThePhasesAreThoseOfTheDocument(t *testing.T) {
	want := diagrams()
	if rewriting() {
		if err := os.WriteFile(diagramFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(diagramFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the tables say; if the change is meant, run: go test ./resources -rewrite", diagramFile)
	}
}

// diagrams draws the table of each kind, and lists its actions.
func diagrams() string {
	var b strings.Builder
	b.WriteString("# Phases\n\nMade from the tables in `resources/` by `go test ./resources -rewrite`. " +
		"A phase that ends in -ing lasts as\nlong as an operation, which has a deadline. " +
		"Kinds with the same table share a picture.\n")
	var tables []string
	kinds := map[string][]resources.Definition{}
	for _, d := range resources.Definitions() {
		picture := draw(d.Phases)
		if kinds[picture] == nil {
			tables = append(tables, picture)
		}
		kinds[picture] = append(kinds[picture], d)
	}
	for _, picture := range tables {
		var names []string
		for _, d := range kinds[picture] {
			names = append(names, string(d.Kind))
		}
		fmt.Fprintf(&b, "\n## %s\n\n```mermaid\nstateDiagram-v2\n%s```\n", strings.Join(names, ", "), picture)
		for _, d := range kinds[picture] {
			b.WriteString(actionsOf(d))
		}
	}
	b.WriteString(lifeOfADriver())
	return b.String()
}

// lifeOfADriver lists what becomes of each event in each standing.
func lifeOfADriver() string {
	var b strings.Builder
	b.WriteString("\n## The life of a version of a driver\n\nOf whatever category. Where a version stands follows " +
		"from its record: there is none, it is disabled, or it is\nenabled. An upgrade or a downgrade is a swap to " +
		"another version. What refuses an event is looked at in the order given;\neach refusal says what to do.\n\n" +
		"| standing | event | refused if | then | all members |\n|---|---|---|---|---|\n")
	life := resources.DriverLife()
	for _, standing := range resources.DriverStandings() {
		for _, event := range resources.DriverEvents() {
			cell := life[standing][event]
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", standing, event, strings.Join(cell.Refused, ", "), cell.To,
				cell.Action)
		}
	}
	return b.String()
}

func draw(t resources.Table) string {
	var lines []string
	for from, following := range t {
		for _, to := range following {
			lines = append(lines, fmt.Sprintf("    %s --> %s\n", diagramName(from), diagramName(to)))
		}
		if len(following) == 0 {
			lines = append(lines, fmt.Sprintf("    %s --> [*]\n", diagramName(from)))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// diagramName avoids the dash, which the notation does not take.
func diagramName(p resources.Phase) string { return strings.ReplaceAll(string(p), "-", "_") }

func actionsOf(d resources.Definition) string {
	if len(d.Actions) == 0 {
		return ""
	}
	var names []string
	for name := range d.Actions {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	fmt.Fprintf(&b, "\n| %s | from | during | after | undone | deadline |\n|---|---|---|---|---|---|\n", d.Kind)
	for _, name := range names {
		a := d.Actions[name]
		var from []string
		for _, p := range a.From {
			from = append(from, string(p))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", name, strings.Join(from, ", "),
			orSame(a.During), orSame(a.After), orSame(a.Undone), a.Deadline)
	}
	return b.String()
}

func orSame(p resources.Phase) string {
	if p == "" {
		return "as before"
	}
	return string(p)
}
