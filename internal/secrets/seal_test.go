package secrets_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const canary = "s3cret-canary"

var pool = resources.Ref{Kind: resources.KindPool, ID: "pool-1"}

func seal(t testing.TB, r secrets.Ring, owner resources.Ref, field, value, beside string) string {
	t.Helper()
	sealed, err := r.Seal(owner, map[string]string{field: value}, beside)
	if err != nil {
		t.Fatal(err)
	}
	return sealed[field]
}

func TestWhatIsSealedOpensForItsFieldAlone(t *testing.T) {
	ring := secrets.Ring{}.With()
	sealed := seal(t, ring, pool, "password", canary, "")
	if strings.Contains(sealed, canary) || strings.Contains(sealed, base64.RawURLEncoding.EncodeToString([]byte(canary))) {
		t.Errorf("it can be read: %s", sealed)
	}
	if got, err := ring.Open(pool, "password", sealed); err != nil || got != canary {
		t.Errorf("opened: %q, %v", got, err)
	}
	if seal(t, ring, pool, "password", canary, "") == sealed {
		t.Error("the same value is sealed to the same text")
	}
	for name, where := range map[string]struct {
		owner resources.Ref
		field string
	}{
		"another field":    {pool, "user"},
		"another resource": {resources.Ref{Kind: resources.KindPool, ID: "pool-2"}, "password"},
		"another kind":     {resources.Ref{Kind: resources.KindHost, ID: "pool-1"}, "password"},
		"a shifted name":   {resources.Ref{Kind: resources.KindPool, ID: "pool-1\x00password"}, ""},
	} {
		if got, err := ring.Open(where.owner, where.field, sealed); !errors.Is(err, secrets.ErrCorrupt) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	other := secrets.Ring{}.With()
	if _, err := other.Open(pool, "password", sealed); !errors.Is(err, secrets.ErrNoKey) {
		t.Errorf("another ring: %v", err)
	}
	if _, err := (secrets.Ring{}).Seal(pool, map[string]string{"a": "b"}, ""); !errors.Is(err, secrets.ErrNoKey) {
		t.Errorf("an empty ring: %v", err)
	}
}

// A resource has one data key, and a value can't be moved to another one with it.
func TestAResourceHasOneDataKey(t *testing.T) {
	ring := secrets.Ring{}.With()
	first := seal(t, ring, pool, "password", canary, "")
	second := seal(t, ring, pool, "token", "x", first)
	open := func(sealed string) []string { return strings.Split(sealed, ".") }
	mixed := strings.Join([]string{"v1", open(first)[1], open(first)[2], open(second)[3]}, ".")
	if got, err := ring.Open(pool, "token", mixed); err != nil || got != "x" {
		t.Errorf("not sealed with the same data key: %q, %v", got, err)
	}
	other := resources.Ref{Kind: resources.KindPool, ID: "pool-2"}
	if _, err := ring.Seal(other, map[string]string{"a": "b"}, first); !errors.Is(err, secrets.ErrCorrupt) {
		t.Errorf("with the data key of another resource: %v", err)
	}
}

func TestAKeyIsReplacedByWrappingAnew(t *testing.T) {
	old := secrets.Ring{}.With()
	sealed := seal(t, old, pool, "password", canary, "")
	both := old.With()
	if got, err := both.Open(pool, "password", sealed); err != nil || got != canary {
		t.Fatalf("meanwhile: %q, %v", got, err)
	}
	anew, err := both.Rewrap(pool, sealed)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := secrets.KeyOf(anew); err != nil || id != both.IDs()[0] {
		t.Errorf("it is sealed with %q, %v", id, err)
	}
	if strings.Split(anew, ".")[3] != strings.Split(sealed, ".")[3] {
		t.Error("the value itself was sealed anew")
	}
	if again, err := both.Rewrap(pool, anew); err != nil || again != anew {
		t.Errorf("again: %v", err)
	}
	next := both.Only()
	if got, err := next.Open(pool, "password", anew); err != nil || got != canary {
		t.Errorf("after: %q, %v", got, err)
	}
	if _, err := next.Open(pool, "password", sealed); !errors.Is(err, secrets.ErrNoKey) {
		t.Errorf("what was not wrapped anew: %v", err)
	}
	if _, err := both.Rewrap(resources.Ref{Kind: resources.KindPool, ID: "pool-2"}, sealed); err == nil {
		t.Error("it is wrapped anew for another resource")
	}
	added := seal(t, both, pool, "token", "x", sealed) // beside one of the old key
	if id, _ := secrets.KeyOf(added); id != both.IDs()[0] {
		t.Errorf("what is new is sealed with the old key %s", id)
	}
}

func TestRingsAreWrittenDown(t *testing.T) {
	ring := secrets.Ring{}.With().With()
	read, err := secrets.Parse(ring.Marshal())
	if err != nil || strings.Join(read.IDs(), " ") != strings.Join(ring.IDs(), " ") {
		t.Fatalf("read %v, %v", read.IDs(), err)
	}
	if got, err := read.Open(pool, "a", seal(t, ring, pool, "a", canary, "")); err != nil || got != canary {
		t.Errorf("%q, %v", got, err)
	}
	if empty, err := secrets.Parse(secrets.Ring{}.Marshal()); err != nil || len(empty.IDs()) != 0 {
		t.Errorf("an empty one: %v", err)
	}
	text := string(ring.Marshal())
	line := strings.Split(text, "\n")[1]
	for name, bad := range map[string]string{
		"nothing":        "",
		"another file":   "-----BEGIN CERTIFICATE-----\n",
		"a key twice":    text + line + "\n",
		"half a key":     text[:len(text)-9] + "\n",
		"no key":         text + "abcdefgh\n",
		"an odd name":    text + strings.ToUpper(line) + "\n",
		"an empty line":  text + "\n",
		"too many":       text + strings.Repeat(line+"\n", 20),
		"a bit too many": text[:len(text)-2] + "/=\n",
	} {
		_, err := secrets.Parse([]byte(bad))
		if !errors.Is(err, secrets.ErrCorrupt) || strings.Contains(err.Error(), strings.Fields(line)[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nothing that was changed opens, wherever it was changed.
func TestChangesAreNoticed(t *testing.T) {
	ring := secrets.Ring{}.With()
	sealed := seal(t, ring, pool, "password", canary, "")
	rapid.Check(t, func(t *rapid.T) {
		changed := []byte(sealed)
		at := rapid.IntRange(0, len(changed)-1).Draw(t, "at")
		changed[at] = rapid.Byte().Draw(t, "byte")
		if bytes.Equal(changed, []byte(sealed)) {
			return
		}
		if got, err := ring.Open(pool, "password", string(changed)); err == nil {
			t.Fatalf("byte %d: opens as %q", at, got)
		}
	})
}

func FuzzOpen(f *testing.F) {
	ring := secrets.Ring{}.With()
	f.Add(seal(f, ring, pool, "a", "b", ""))
	f.Add("v1.abcd..")
	f.Fuzz(func(t *testing.T, sealed string) {
		if _, err := ring.Rewrap(pool, sealed); err != nil && len(sealed) > 20 && strings.Contains(err.Error(), sealed) {
			t.Error("the error repeats it")
		}
		if _, err := ring.Open(pool, "b", sealed); err == nil {
			t.Error("it opens for a field it was not sealed for")
		}
	})
}
