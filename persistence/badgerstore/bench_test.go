package badgerstore_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
)

// The big benchmarks make a store of BADGERSTORE_RESOURCES resources (default 20000) of five keys each: a document of
// 300 bytes and four index keys.
func resources(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(os.Getenv("BADGERSTORE_RESOURCES"))
	if err != nil {
		return 20000
	}
	return n
}

func document(i int) []byte { return binary.BigEndian.AppendUint64([]byte("doc/"), uint64(i)) }

func index(family string, i int) []byte {
	return binary.BigEndian.AppendUint64(fmt.Appendf(nil, "idx/%s/%04d/", family, i%1000), uint64(i))
}

func putResource(w persistence.Writer, i int, value []byte) error {
	for j := range value[:200] { // a third of a document does not compress
		if j%3 == 0 {
			value[j] = byte(rand.Uint32())
		}
	}
	if err := w.Put(document(i), value); err != nil {
		return err
	}
	for _, family := range []string{"name", "phase", "host", "tag"} {
		if err := w.Put(index(family, i), nil); err != nil {
			return err
		}
	}
	return nil
}

func fillStore(b *testing.B, s persistence.Store, n int) {
	b.Helper()
	value := []byte(strings.Repeat("{\"state\":1}", 28))
	const batch = 200
	for i := 0; i < n; i += batch {
		err := s.Update(func(w persistence.Writer) error {
			for j := i; j < min(i+batch, n); j++ {
				if err := putResource(w, j, value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func resident() uint64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

func BenchmarkStore(b *testing.B) {
	n := resources(b)
	dir := b.TempDir()
	s := open(b, dir)
	b.Run("fill", func(b *testing.B) {
		for range b.N {
			fillStore(b, s, n)
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "resources/s")
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for range b.N {
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			s = open(b, dir)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
		b.ReportMetric(float64(resident())/1e6, "anon-rss-MB")
	})
	b.Run("get", func(b *testing.B) {
		err := s.View(func(r persistence.Reader) error {
			for range b.N {
				if _, ok, err := r.Get(document(rand.IntN(n))); !ok || err != nil {
					return fmt.Errorf("got %t, %w", ok, err)
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	})
	b.Run("view+get", func(b *testing.B) {
		for range b.N {
			err := s.View(func(r persistence.Reader) error {
				_, _, err := r.Get(document(rand.IntN(n)))
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scan100", func(b *testing.B) { benchScan(b, s, n, persistence.Reader.Scan) })
	b.Run("scan100-reverse", func(b *testing.B) { benchScan(b, s, n, persistence.Reader.ScanReverse) })
	b.Run("update10", func(b *testing.B) {
		value := make([]byte, 300)
		for i := range b.N {
			err := s.Update(func(w persistence.Writer) error {
				for j := range 2 {
					if err := putResource(w, (i*7+j)%n, value); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

type scanFunc func(r persistence.Reader, prefix, from []byte, fn func(key, value []byte) (bool, error)) error

// benchScan reads a page of 100 documents from a random one on.
func benchScan(b *testing.B, s *badgerstore.Store, n int, scan scanFunc) {
	b.Helper()
	for range b.N {
		err := s.View(func(r persistence.Reader) error {
			left := 100
			return scan(r, []byte("doc/"), document(rand.IntN(n)), func(_, _ []byte) (bool, error) {
				left--
				return left > 0, nil
			})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
