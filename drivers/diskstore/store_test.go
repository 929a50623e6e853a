package diskstore_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskstore"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	invalid   = driverpb.Class_CLASS_INVALID
	notFound  = driverpb.Class_CLASS_NOT_FOUND
	conflict  = driverpb.Class_CLASS_CONFLICT
	transient = driverpb.Class_CLASS_TRANSIENT
	exhausted = driverpb.Class_CLASS_EXHAUSTED
)

func shelves() diskstore.Kind {
	return diskstore.Kind{
		Name: "shelf", Parts: []string{"book"}, Called: "shelf", Holds: "books", Folders: []string{"books"},
		HandleVersion: 3,
	}
}

// call is one about a resource, with the properties of its shelf.
func call(t testing.TB, kind, id string, properties map[string]any) *driverpb.Call {
	t.Helper()
	all := map[string]any{"minimumFreeBytes": float64(0)}
	maps.Copy(all, properties)
	given, err := structpb.NewStruct(all)
	if err != nil {
		t.Fatal(err)
	}
	return &driverpb.Call{Resource: &driverpb.Ref{Kind: kind, Id: id}, Properties: given}
}

// shelf claims a directory for shelf-1 and returns the call, now with the handle.
func shelf(t testing.TB, path string) (*diskstore.Store, *driverpb.Call) {
	t.Helper()
	claim := call(t, "shelf", "shelf-1", map[string]any{"path": path})
	store, err := shelves().Claim(claim, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("claiming %s: %v", path, err)
	}
	t.Cleanup(store.Close)
	known, err := store.Handle()
	if err != nil {
		t.Fatal(err)
	}
	if claim.Handle, err = sdk.WriteHandle(3, known); err != nil {
		t.Fatal(err)
	}
	return store, claim
}

func claim(c *driverpb.Call) error {
	store, err := shelves().Claim(c, slog.New(slog.DiscardHandler))
	if err == nil {
		store.Close()
	}
	return err
}

func open(c *driverpb.Call) error {
	store, err := shelves().OpenOf(c)
	if err == nil {
		store.Close()
	}
	return err
}

func expect(t testing.TB, err error, class driverpb.Class, code string) {
	t.Helper()
	if fault := sdk.FaultOf(err); fault.GetClass() != class || fault.GetCode() != code {
		t.Errorf("got %v, want a fault %v %q", err, class, code)
	} else if class == invalid && fault.GetField() == "" {
		t.Errorf("the fault names no field: %v", fault)
	}
}

func TestClaimNamesTheWrongProperty(t *testing.T) {
	t.Parallel()
	for code, properties := range map[string]map[string]any{
		"path-required": {"path": ""},
		"path-invalid":  {"path": "relative"},
		"path-missing":  {"path": "/nowhere/at/all"},
		"out-of-range":  {"path": t.TempDir(), "minimumFreeBytes": float64(-1)},
	} {
		expect(t, claim(call(t, "shelf", "shelf-1", properties)), invalid, code)
	}
}

// TestFailedClaimIsUndone closes shelves that could not be opened, as the engine does to undo.
func TestFailedClaimIsUndone(t *testing.T) {
	t.Parallel()
	taken := t.TempDir()
	_, owner := shelf(t, taken)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, properties := range []map[string]any{
		{"path": ""},
		{"path": "relative"},
		{"path": "/nowhere/at/all"},
		{"path": file},
		{"path": t.TempDir(), "minimumFreeBytes": float64(-1)},
		{"path": taken},
	} {
		c := call(t, "shelf", "shelf-2", properties)
		if claim(c) == nil {
			t.Errorf("%v: claimed", properties)
		}
		if err := shelves().Unclaim(c); err != nil {
			t.Errorf("%v: closing: %v", properties, err)
		}
	}
	if err := claim(owner); err != nil {
		t.Errorf("closing a shelf that could not have the directory took it from its owner: %v", err)
	}
}

func TestShelfThatWasNeverOpen(t *testing.T) {
	t.Parallel()
	expect(t, open(call(t, "shelf", "shelf-1", map[string]any{"path": t.TempDir()})), notFound, "not-open")
	expect(t, open(call(t, "shelf", "shelf-1", nil)), notFound, "not-open")
}

func TestShelfDoesNotMove(t *testing.T) {
	t.Parallel()
	_, c := shelf(t, t.TempDir())
	c.Properties.Fields["path"] = structpb.NewStringValue(t.TempDir())
	expect(t, open(c), invalid, "path-immutable")
}

func TestShelfClosesOnceItIsEmpty(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	_, c := shelf(t, path)
	book := filepath.Join(path, "books", "book-1")
	if err := os.WriteFile(book, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, shelves().Unclaim(c), conflict, "not-empty")
	if err := os.Remove(book); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := shelves().Unclaim(c); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Errorf("left behind: %v", err)
	}
	if err := shelves().Unclaim(c); err != nil {
		t.Errorf("closing a shelf whose directory is gone: %v", err)
	}
}

// TestUnmountedShelf hides the shelf behind another file system, as a failed mount does.
func TestUnmountedShelf(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	_, c := shelf(t, path)
	uncover := diskdirtest.Cover(t, path)
	expect(t, claim(c), transient, "not-mounted")
	expect(t, open(c), transient, "not-mounted")
	expect(t, shelves().Unclaim(c), transient, "not-mounted")
	probe, err := diskstore.Unready(open(c))
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_UNREADY || probe.GetReason() == "" {
		t.Errorf("probe = %v, %v; want unready with a reason", probe, err)
	}
	uncover()
	if err := open(c); err != nil {
		t.Errorf("opening the shelf once it is back: %v", err)
	}
}

// TestPartFindsItsShelf by its handle and, without one, by the mark at the path.
func TestPartFindsItsShelf(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	shelf(t, path)
	c := call(t, "book", "book-1", map[string]any{"path": path})
	if err := open(c); err != nil {
		t.Errorf("by the mark: %v", err)
	}
	for id, code := range map[string]string{"shelf-1": "", "shelf-2": "path-taken"} {
		var err error
		if c.Handle, err = sdk.WriteHandle(3, map[string]any{"shelf": id, "pages": 7}); err != nil {
			t.Fatal(err)
		}
		if got := sdk.FaultOf(open(c)).GetCode(); got != code {
			t.Errorf("with a handle that names %s: got %q, want %q", id, got, code)
		}
	}
	c.Handle.Version = 2
	expect(t, open(c), driverpb.Class_CLASS_UNSUPPORTED, "handle-version")
	expect(t, open(call(t, "pamphlet", "p-1", nil)), invalid, "kind-unknown")
}

func TestRoomIsKept(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	store, c := shelf(t, path)
	space, err := store.Dir.Space()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Room(0); err != nil {
		t.Errorf("an empty shelf has no room: %v", err)
	}
	expect(t, store.Room(int64(space.Available)*2), exhausted, "no-space")
	if probe, err := store.Probe(); err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		t.Errorf("probe = %v, %v; want ready", probe, err)
	}
	c.Properties.Fields["minimumFreeBytes"] = structpb.NewNumberValue(1 << 50)
	narrow, err := shelves().Open(c, c)
	if err != nil {
		t.Fatal(err)
	}
	defer narrow.Close()
	expect(t, narrow.Room(0), exhausted, "no-space")
	if probe, err := narrow.Probe(); err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_DEGRADED {
		t.Errorf("probe = %v, %v; want degraded", probe, err)
	}
}

func TestWhatIsNoPlainFile(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	store, _ := shelf(t, path)
	look := func(name string) (stat, opened error) {
		_, stat = store.Stat("books", name)
		_, opened = store.OpenFile("books", name, unix.O_RDONLY)
		return stat, opened
	}
	if stat, opened := look("missing"); !errors.Is(stat, fs.ErrNotExist) || !errors.Is(opened, fs.ErrNotExist) {
		t.Errorf("of what is missing: %v and %v", stat, opened)
	}
	if err := os.Mkdir(filepath.Join(path, "books", "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	stat, opened := look("folder")
	expect(t, stat, conflict, "not-a-file")
	expect(t, opened, conflict, "not-a-file")
}

func TestStrangersAreTold(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	store, _ := shelf(t, path)
	for _, name := range []string{"notes.txt", "b\xff", "staging/book-1.dead.data", "books/book-1"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen, err := store.Strangers()
	names := make([]string, 0, len(seen))
	for _, one := range seen {
		if one.GetResource() != nil || one.GetState() != "foreign" || one.GetBytes() != 1 {
			t.Errorf("told %v", one)
		}
		names = append(names, one.GetName())
	}
	slices.Sort(names)
	if want := []string{"b?", "notes.txt", "staging/book-1.dead.data"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("told %q, %v; want %q", names, err, want)
	}
}
