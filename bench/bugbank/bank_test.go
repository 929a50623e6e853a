package bugbank_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bulkhead-cloud/bulkhead/bench/bugbank"
)

// TestBugsCanBePlanted keeps the bank from rotting: a bug whose text is no longer in the
// code finds nothing out.
func TestBugsCanBePlanted(t *testing.T) {
	root := filepath.Join("..", "..")
	bugs, err := bugbank.Load(os.DirFS("bugs"))
	if err != nil {
		t.Fatal(err)
	}
	const least = 20
	if len(bugs) < least {
		t.Errorf("there are %d bugs, and there should be %d at least", len(bugs), least)
	}
	for _, b := range bugs {
		text, err := b.Plant(os.DirFS(root))
		if err != nil {
			t.Error(err)
		}
		if strings.Count(text, b.New) == 0 {
			t.Errorf("%s was not planted", b.Name)
		}
		if strings.HasSuffix(b.File, "_test.go") {
			t.Errorf("%s is planted in a test, which nobody ships", b.Name)
		}
		if b.Check.Package == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, b.Check.Package)); err != nil {
			t.Errorf("%s is to be found by a package that is not there: %v", b.Name, err)
		}
	}
}

const whole = "what: a\nfile: f.go\npackage: ./p\nrun: T\nlimit: 1m\n--- old\none\n--- new\ntwo\n"

func TestParse(t *testing.T) {
	b, err := bugbank.Parse("x", whole)
	if err != nil || b.Name != "x" || b.File != "f.go" || b.Old != "one\n" || b.New != "two\n" || b.Check.Run != "T" {
		t.Fatalf("got %+v, %v", b, err)
	}
	for what, text := range map[string]string{
		"no line \"--- old\"":   strings.Replace(whole, "--- old\n", "", 1),
		"no line \"--- new\"":   strings.Replace(whole, "--- new\n", "", 1),
		"nobody knows the key":  "color: red\n" + whole,
		"not a key":             "color\n" + whole,
		"limit: time":           strings.Replace(whole, "1m", "soon", 1),
		"must be given":         strings.Replace(whole, "limit: 1m\n", "", 1),
		"either package or":     "chaos: -seed=1\ncounters: lost\n" + whole,
		"counters must be":      "counters: lost\n" + whole,
		"the same":              strings.Replace(whole, "two", "one", 1),
		"is not a key, a colon": strings.Replace(whole, "what: a", "what", 1),
	} {
		if _, err := bugbank.Parse("x", text); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("the error is %v, want it to say: %s", err, what)
		}
	}
}

func TestPlant(t *testing.T) {
	b := bugbank.Bug{Name: "x", File: "f.go", Old: "one\n", New: "two\n"}
	for text, want := range map[string]string{"zero\none\n": "zero\ntwo\n", "one\n.one\n": "", "zero\n": ""} {
		got, err := b.Plant(fstest.MapFS{"f.go": {Data: []byte(text)}})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("planted in %q is %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := b.Plant(fstest.MapFS{}); err == nil {
		t.Error("planted in a file that is not there")
	}
}

func TestChecksOfOnePartAreOne(t *testing.T) {
	a := bugbank.Check{Package: "./p", Run: "A", Limit: 1}
	b := bugbank.Check{Package: "./p", Run: "B", Limit: 2}
	both := a.And(b).And(a)
	if both.Run != "A|B" || both.Limit != 4 || both.Where() != "./p" {
		t.Errorf("together they are %+v", both)
	}
	if all := both.And(bugbank.Check{Package: "./p"}); all.Run != "" {
		t.Errorf("with all tests of the package they are %q", all.Run)
	}
	c := bugbank.Check{Chaos: "-seed=1", Counters: []string{"lost"}}
	if got := c.And(c); got.Where() != "chaos -seed=1" || len(got.Counters) != 2 {
		t.Errorf("two chaos runs are %+v", got)
	}
}
