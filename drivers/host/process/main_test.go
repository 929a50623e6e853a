package process_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	goleak.VerifyTestMain(m)
}

func null(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}
