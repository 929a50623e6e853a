package cli_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "1": 1, "10b": 10, "1k": 1024, "1KiB": 1024, "1kB": 1000, "1.5GiB": 1536 << 20,
		"10 GiB": 10 << 30, "2T": 2 << 40, "1.5TB": 1.5e12,
	} {
		if got, err := cli.ParseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "GiB", "-1", "1.5", "1x", "1e30", "0x10", "ten", "1 0", "1GiBs", "inf", "nan", "99999999T",
	} {
		if got, err := cli.ParseSize(text); err == nil {
			t.Errorf("%q: got %d, want it refused", text, got)
		}
	}
	for bytes, want := range map[float64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 10 << 30: "10 GiB", 3 << 50: "3072 TiB",
		11<<30 + 600<<20: "12 GiB",
	} {
		if got := cli.FormatSize(bytes); got != want {
			t.Errorf("%v: got %q, want %q", bytes, got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"10GiB", "1.5TB", "-1", "1e3", "", "0x1p3", "1_0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := cli.ParseSize(text); err == nil && n > 1<<63-1 {
			t.Errorf("%q is %d", text, n)
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[2Jb\u202e\x00\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := cli.Clean(text)
		if strings.ContainsAny(got, "\x1b\x07\n\r\u202e\u2066\u009b") || !utf8.ValidString(got) {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
