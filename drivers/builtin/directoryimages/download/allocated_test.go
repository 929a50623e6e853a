package download_test

import (
	"os"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
)

// allocated is the space a file takes.
func allocated(t testing.TB, path string) int64 {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	taken, err := diskdir.Allocated(file)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}
