package badgerstore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// The tests that kill a process, or cut the power under it, run this test program again as a child that writes.
const (
	childMode = "BADGERSTORE_CHILD_MODE"
	childDir  = "BADGERSTORE_CHILD_DIR"
)

func TestMain(m *testing.M) {
	if powercut.Main() {
		return
	}
	mode := os.Getenv(childMode)
	if mode == "" {
		os.Exit(m.Run())
	}
	if err := child(mode, os.Getenv(childDir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

// small are options with segments of the log so small that there are many, and some of the other keys in memory.
func small(dir string) badgerstore.Options {
	return badgerstore.Options{Dir: dir, Resident: [][]byte{[]byte("f"), appliedKey}}.WithSegments(16 << 10)
}

func openSmall(t *testing.T, dir string) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(small(dir))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// badgerAlone is a mode of a child.
const badgerAlone = "badger-alone"

// rotatedLine is what a child says when it stops because Badger began a new write-ahead file.
const rotatedLine = "rotated"

// child opens the store in dir and writes until it is killed. Mode "until-rotation" instead stops and says so when
// Badger began a new write-ahead file, "trust-badger" does so with a store that does not watch the order of files, and
// "badger-alone" with one whose log was last synced by itself.
func child(mode, dir string) error {
	s, err := badgerstore.Open(small(dir))
	if err != nil {
		return err
	}
	if err := s.KeepLog(growing); err != nil {
		return err
	}
	n, err := applied(s)
	if err != nil {
		return err
	}
	if mode == "trust-badger" {
		s.TrustBadger()
	}
	first := 0
	if mode != "load" {
		first, _ = s.Rotation()
	}
	for {
		n++
		if err := s.Update(func(w persistence.Writer) error { return writeNumber(w, n, widths[mode]) }); err != nil {
			return err
		}
		rotated := false
		if mode != "load" {
			file, _ := s.Rotation()
			rotated = file != first
		}
		switch {
		case mode == badgerAlone && rotated:
			err = s.SyncBadger()
		case mode != badgerAlone && (rotated || n%20 == 0):
			if err = s.Sync(); err == nil {
				fmt.Println(n)
			}
		}
		if err != nil {
			return err
		}
		if rotated {
			fmt.Println(rotatedLine)
			<-make(chan struct{}) // the power goes
		}
	}
}

var (
	appliedKey = []byte("applied")
	growing    = []byte("e/") // before the keys that only grow
)

// mostGrown is how many of the keys that only grow are kept.
const mostGrown = 500

// writeNumber writes what belongs to n: n as the number applied last, and one key, or many every so often; and one that
// only grows, of which some are kept.
func writeNumber(w persistence.Writer, n uint64, width width) error {
	value := make([]byte, 300)
	binary.BigEndian.PutUint64(value, n)
	if err := w.Put(appliedKey, value[:8]); err != nil {
		return err
	}
	for i := range width(n) {
		if err := w.Put(numberKey(n, i), value); err != nil {
			return err
		}
	}
	if err := w.Put(grownKey(n), value[:8+n%200]); err != nil {
		return err
	}
	if n > mostGrown {
		if err := w.Delete(grownKey(n - mostGrown)); err != nil {
			return err
		}
	}
	if n < 2 {
		return nil
	}
	return w.Delete(numberKey(n-1, 0)) // so that deletions are part of it
}

func grownKey(n uint64) []byte { return binary.BigEndian.AppendUint64(bytes.Clone(growing), n) }

// checkGrown checks that the store holds exactly the keys that only grow of the first applied numbers.
func checkGrown(s persistence.Store, last uint64) error {
	n := max(last, mostGrown) - mostGrown
	err := s.View(func(r persistence.Reader) error {
		return r.Scan(growing, nil, func(key, value []byte) (bool, error) {
			if n++; !bytes.Equal(key, grownKey(n)) || len(value) != int(8+n%200) || binary.BigEndian.Uint64(value) != n {
				return false, fmt.Errorf("applied is %d, but where key %x should be there is %x", last, grownKey(n), key)
			}
			return true, nil
		})
	})
	if err == nil && n != last {
		err = fmt.Errorf("applied is %d, but the keys that grow end at %d", last, n)
	}
	return err
}

// width says how many keys belong to a number.
type width func(n uint64) uint64

// widths says what the modes of a child write. More than about 4000 keys are more than one Badger transaction.
var widths = map[string]width{
	"load": withLarge, "until-rotation": onlySmall, "trust-badger": onlySmall, badgerAlone: onlySmall,
}

func onlySmall(n uint64) uint64 { return 2 + n%7*5 }

func withLarge(n uint64) uint64 {
	if n%150 == 0 {
		return 12000
	}
	return onlySmall(n)
}

func numberKey(n, i uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte("n"), n), i)
}

func applied(s persistence.Store) (n uint64, err error) {
	err = s.View(func(r persistence.Reader) error {
		value, ok, err := r.Get(appliedKey)
		if ok {
			n = binary.BigEndian.Uint64(value)
		}
		return err
	})
	return n, err
}

// checkPrefix checks that the store holds exactly what the first applied numbers write, and returns how many that are.
func checkPrefix(s persistence.Store, width width) (last uint64, err error) {
	if last, err = applied(s); err != nil {
		return 0, err
	}
	n, i := uint64(1), uint64(1)
	err = s.View(func(r persistence.Reader) error {
		return r.Scan([]byte("n"), nil, func(key, value []byte) (bool, error) {
			for i >= width(n) { // the first key of all numbers but the last was deleted
				n, i = n+1, 1
				if n == last {
					i = 0
				}
			}
			if last == 1 && n == 1 && i == 1 {
				i = 0
			}
			if want := numberKey(n, i); string(want) != string(key) || binary.BigEndian.Uint64(value) != n {
				return false, fmt.Errorf("applied is %d, but where key %x should be there is %x", last, want, key)
			}
			i++
			return true, nil
		})
	})
	if err == nil && last > 0 && (n != last || i != width(n)) {
		err = fmt.Errorf("applied is %d, but the keys end in the middle of %d", last, n)
	}
	return last, errors.Join(err, checkGrown(s, last))
}

// start starts a child.
func start(t *testing.T, mode, dir string) (*exec.Cmd, *lastLine) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childMode+"="+mode, childDir+"="+dir)
	out := &lastLine{rotated: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// lastLine remembers the last number written to it.
type lastLine struct {
	number  uint64
	rotated chan struct{} // closed when the child stopped there
}

// Write is called with whole lines: the child writes each with one call.
func (l *lastLine) Write(b []byte) (int, error) {
	for line := range lines(b) {
		if line == rotatedLine {
			close(l.rotated)
			continue
		}
		if _, err := fmt.Sscan(line, &l.number); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func lines(b []byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		begin := 0
		for i, c := range b {
			if c != '\n' {
				continue
			}
			if !yield(string(b[begin:i])) {
				return
			}
			begin = i + 1
		}
	}
}
