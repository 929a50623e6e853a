package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDeveloping follows docs/vendors/developing.md word by word.
func TestDeveloping(t *testing.T) {
	t.Parallel()
	term := openTerminal(t)
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(checkout, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for _, b := range blocks(t, "../../docs/vendors/developing.md") {
		if b.kind == "server" {
			term.serve(t, b.text)
			continue
		}
		// The module proxy would say what this tree says, so that there is nothing to tidy.
		text, made := strings.ReplaceAll(b.text, "make -C shelf", "make -C shelf -o go.sum"), "bulkhead driver new acme/shelf"
		if before, after, is := strings.Cut(text, made); is {
			options, build, _ := strings.Cut(after, "\n")
			said.WriteString(term.typed(t, before+made+options))
			if err := os.WriteFile(filepath.Join(term.dir, "developing", "shelf", "go.sum"), sums, 0o644); err != nil {
				t.Fatal(err)
			}
			text = "export GOFLAGS='-trimpath -mod=mod' GOPROXY=off\n" + build
		}
		said.WriteString(term.typed(t, text))
	}
	for _, want := range []string{
		`isolation: none \(attached\)`, `volume data: created`, `volume more: created`, `volume debugged: created`,
		`(?s)The driver ended.*Detached: the server runs driver acme/shelf 0\.1\.0 itself again`, `vol-\S+\.raw`,
	} {
		if !regexp.MustCompile(want).MatchString(said.String()) {
			t.Errorf("nothing that was said is like %s:\n%s", want, &said)
		}
	}
}
