package kvstream_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/kvstream"
)

func stream(tb testing.TB, pairs ...string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := kvstream.NewWriter(&b)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if err := w.Put([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
			tb.Fatal(err)
		}
	}
	n, err := w.Close()
	if err != nil || n != int64(b.Len()) {
		tb.Fatalf("Close() = %d, %v, want %d bytes", n, err, b.Len())
	}
	return b.Bytes()
}

func read(b []byte) (pairs []string, err error) {
	r, err := kvstream.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for {
		k, v, err := r.Next()
		if errors.Is(err, io.EOF) {
			return pairs, nil
		}
		if err != nil {
			return pairs, err
		}
		pairs = append(pairs, string(k), string(v))
	}
}

func TestRoundTrip(t *testing.T) {
	for _, pairs := range [][]string{{}, {"a", ""}, {"a", "1", "b", string(make([]byte, 300000)), "ba", "3"}} {
		got, err := read(stream(t, pairs...))
		if err != nil {
			t.Fatalf("reading %d pairs: %v", len(pairs)/2, err)
		}
		if len(got) != len(pairs) {
			t.Fatalf("got %d pairs, want %d", len(got)/2, len(pairs)/2)
		}
		for i := range got {
			if got[i] != pairs[i] {
				t.Fatalf("pair %d differs", i/2)
			}
		}
	}
}

func TestWriterRefusesDisorder(t *testing.T) {
	w, err := kvstream.NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Put([]byte("b"), nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "a", "b"} {
		if err := w.Put([]byte(key), nil); err == nil {
			t.Errorf("Put(%q) after b was taken", key)
		}
	}
}

// TestEveryDamageIsFound cuts the stream at every length, flips every bit and appends a byte.
func TestEveryDamageIsFound(t *testing.T) {
	good := stream(t, "alpha", "1", "beta", "22", "gamma", "")
	for n := range good {
		if _, err := read(good[:n]); !errors.Is(err, persistence.ErrCorrupt) {
			t.Errorf("cut to %d of %d bytes: %v, want ErrCorrupt", n, len(good), err)
		}
	}
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := read(bad); err == nil {
			t.Errorf("bit %d flipped: no error", i)
		}
	}
	if _, err := read(append(bytes.Clone(good), 0)); !errors.Is(err, persistence.ErrCorrupt) {
		t.Errorf("with one byte more: %v, want ErrCorrupt", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(stream(f, "a", "1", "b", "2"))
	f.Add([]byte("BHKV\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pairs, err := read(b)
		if err == nil && !bytes.Equal(stream(t, pairs...), b) && len(b) > 14 {
			// A varint may be written longer than it must; then the stream differs, but it says the same.
			if again, err := read(stream(t, pairs...)); err != nil || len(again) != len(pairs) {
				t.Fatalf("what was read cannot be written: %v", err)
			}
		}
	})
}
