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
		text, build, first := strings.Cut(b.text, "make -C shelf\n")
		if first && strings.Contains(text, "driver new") {
			said.WriteString(term.typed(t, text))
			sumsAt := filepath.Join(term.dir, "developing", "shelf", "go.sum") // what the module proxy would have said
			if err := os.WriteFile(sumsAt, sums, 0o644); err != nil {
				t.Fatal(err)
			}
			said.WriteString(term.typed(t, "export GOFLAGS='-trimpath -mod=mod' GOPROXY=off\nmake -C shelf\n"+build))
			continue
		}
		said.WriteString(term.typed(t, b.text))
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
