package shelf_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/shelf"
)

// unread fails the test when somebody reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("it was read though there is no room for it")
	return 0, errors.New("nobody reads this")
}

// TestWithoutRoomNothingIsKept: not a byte of a transfer, nothing of an upload, and all of it once there is room.
func TestWithoutRoomNothingIsKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.KeepFree(1 << 62)
	car := pack(t, "one")
	found, err := archive.Inspect(t.Context(), bytes.NewReader(car), archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	changed := s.Changed()
	err = s.Receive(t.Context(), found.Digest, found.Bytes, unread{t})
	if !errors.Is(err, shelf.ErrNoRoom) || !strings.Contains(err.Error(), "MiB free") {
		t.Errorf("receiving says %v", err)
	}
	<-changed // whoever waits for it hears of it
	if why := s.Refused(found.Digest); !errors.Is(why, shelf.ErrNoRoom) {
		t.Errorf("why it is not here: %v", why)
	}
	if _, err := s.Put(t.Context(), bytes.NewReader(car), ""); !errors.Is(err, shelf.ErrNoRoom) {
		t.Errorf("putting says %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "sha256", "*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "sha256", ".*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	s.KeepFree(0)
	if err := s.Receive(t.Context(), found.Digest, found.Bytes, bytes.NewReader(car)); err != nil {
		t.Fatal(err)
	}
	if why := s.Refused(found.Digest); why != nil {
		t.Errorf("it is here, and was refused: %v", why)
	}
}
