package persistence_test

import (
	"encoding"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

var rewrite = flag.Bool("rewrite", false, "take down what the log and the state may hold")

// TestShape: what the log and the state may hold changes only together with a level. Nodes of two versions apply the
// same entries, and what one of them does not know it skips: their states would part.
func TestShape(t *testing.T) {
	s := shapes{}
	persistence.EachCommand(func(name string, level uint32, cmd persistence.Command) {
		s.add(fmt.Sprintf("command %s, from level %d", name, level), cmd)
	})
	persistence.EachRecord(func(name string, record any) { s.add("record "+name, record) })
	vocabulary := resources.NewVocabulary()
	for _, d := range resources.Definitions() {
		s.add("resource "+string(d.Kind), vocabulary.New(d.Kind))
	}
	lines := []string{}
	for line := range s {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	got := fmt.Sprintf("level %d\n\n%s\n", persistence.NewestLevel, strings.Join(lines, "\n"))
	const path = "testdata/level.txt"
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	was := strings.Split(string(want), "\n")
	for line := range strings.Lines(got) {
		if line = strings.TrimSpace(line); !slices.Contains(was, line) {
			t.Errorf("not in %s: %s", path, line)
		}
	}
	t.Errorf("what the log or the state may hold is not what %s says. If nodes of the version before work in one cluster "+
		"with this one all the same (docs/decisions/0016-levels.md), run the test with -rewrite and review the diff", path)
}

// shapes are lines, each of which says how a type is encoded.
type shapes map[string]bool

func (s shapes) add(name string, v any) { s[name+": "+s.fields(reflect.TypeOf(v))] = true }

// fields describes a struct by the names its fields have where it is encoded.
func (s shapes) fields(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var list []string
	for f := range t.Fields() {
		tag, inline := f.Tag.Get("json"), f.Anonymous && f.Tag.Get("json") == ""
		switch {
		case tag == "-" || f.Tag.Get("cbor") == "-" || !f.IsExported() && !inline:
		case inline:
			list = append(list, s.fields(f.Type))
		default:
			list = append(list, tag+" "+s.shape(f.Type))
		}
	}
	return strings.Join(list, "; ")
}

// shape names a type, and describes it on a line of its own if it is a struct of ours.
func (s shapes) shape(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + s.shape(t.Elem())
	case reflect.Slice, reflect.Array:
		return "[]" + s.shape(t.Elem())
	case reflect.Map:
		return "map[" + s.shape(t.Key()) + "]" + s.shape(t.Elem())
	case reflect.Struct:
		if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || !strings.Contains(t.PkgPath(), "bulkhead") {
			return t.String()
		}
		line := "type " + t.String() + ": "
		if !s[line] { // also those that hold themselves end
			s[line] = true
			text := s.fields(t)
			delete(s, line)
			s[line+text] = true
		}
		return t.String()
	default:
		return t.Kind().String()
	}
}
