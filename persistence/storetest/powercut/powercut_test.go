package powercut_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

func TestMain(m *testing.M) {
	if !powercut.Main() {
		os.Exit(m.Run())
	}
}

// What was synced is there after a cut. Of what was not, nothing has to be, and something has to be missing at times.
func TestCut(t *testing.T) {
	disk := powercut.New(t, 64<<20)
	lost := 0
	for round := range 10 {
		content := bytes.Repeat([]byte{byte(round + 1)}, 100_000)
		synced, careless := filepath.Join(disk.Dir, "synced"), filepath.Join(disk.Dir, "careless")
		write(t, synced, content, true)
		write(t, careless, content, false)
		if err := disk.Cut(func() {}); err != nil {
			t.Fatal(err)
		}
		disk.Restore(t)
		if got, err := os.ReadFile(synced); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("round %d: what was synced is not there: %v", round, err)
		}
		if got, err := os.ReadFile(careless); err != nil || !bytes.Equal(got, content) {
			lost++
		}
	}
	if lost == 0 {
		t.Error("nothing that was not synced was lost in 10 cuts")
	}
}

func write(t *testing.T, path string, content []byte, sync bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if !sync {
		return
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}
