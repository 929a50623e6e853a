package archtest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/archtest"
)

// root is the root of the repository.
var root = filepath.Join("..", "..")

func load(t *testing.T) []archtest.File {
	t.Helper()
	files, err := archtest.Load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("found only %d Go files below %s: is that the repository?", len(files), root)
	}
	return files
}

func TestArchitecture(t *testing.T) {
	for _, complaint := range archtest.Bulkhead().Check(load(t)) {
		t.Error(complaint)
	}
}

func TestText(t *testing.T) {
	complaints, err := archtest.CheckText(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range complaints {
		t.Error(complaint)
	}
}

// A library in the tables that nobody uses is a decision that was not carried out, or not taken back.
func TestEveryOwnedLibraryIsUsed(t *testing.T) {
	for _, library := range archtest.Bulkhead().Unused(load(t)) {
		t.Errorf("%s is in the tables and is not imported", library)
	}
}

// Each library has a line in docs/dependencies.md that says why it is there.
func TestEveryLibraryIsExplained(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	rules := archtest.Bulkhead()
	explained := map[string]bool{}
	for _, line := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		explained[line[1]] = true
	}
	for library := range rules.Owner {
		if !explained[library] {
			t.Errorf("%s has no line in docs/dependencies.md", library)
		}
		delete(explained, library)
	}
	for _, library := range rules.TestLibraries {
		if !explained[library] {
			t.Errorf("%s has no line in docs/dependencies.md", library)
		}
		delete(explained, library)
	}
	for line := range explained {
		t.Errorf("docs/dependencies.md explains %s, which is not in the tables", line)
	}
}

// The module in go.mod is the one the tables speak of.
func TestModule(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "module " + archtest.Bulkhead().Module + "\n"; !strings.HasPrefix(string(text), want) {
		t.Errorf("go.mod does not begin with %q", want)
	}
}
