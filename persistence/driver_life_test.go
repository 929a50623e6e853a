package persistence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// counted is a store that counts what the state machine reads of it to apply entries.
type counted struct {
	*memstore.Store
	read int
}

// Update implements persistence.Store.
func (s *counted) Update(fn func(w persistence.Writer) error) error {
	return s.Store.Update(func(w persistence.Writer) error { return fn(countedWriter{w, s}) })
}

type countedWriter struct {
	persistence.Writer
	store *counted
}

// Get implements persistence.Reader.
func (w countedWriter) Get(key []byte) ([]byte, bool, error) {
	w.store.read++
	return w.Writer.Get(key)
}

// Scan implements persistence.Reader.
func (w countedWriter) Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	return w.Writer.Scan(prefix, from, func(key, value []byte) (bool, error) {
		w.store.read++
		return fn(key, value)
	})
}

func version(number string, current bool) *resources.Driver {
	return &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, ID: "drv-" + number, Name: "sim-" + number},
		Spec: resources.DriverSpec{
			Product: "bulkhead/sim", Version: number, Categories: []string{"storage"}, Enabled: true, Current: current,
			Digest: "sha256:" + number,
		},
	}
}

// TestWhatIsBoundIsLookedForWhereItDecides: whoever applies entries does nothing else, and there may be millions.
func TestWhatIsBoundIsLookedForWhereItDecides(t *testing.T) {
	store := &counted{Store: memstore.New()}
	codec, err := persistence.NewCodec(resources.NewVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	machine, err := persistence.Open(store, codec)
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{t: t, machine: machine, store: store.Store, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	made := z.seal(&resources.Zone{
		Meta:   resources.Meta{Kind: resources.KindZone, ID: "zone-1", Name: "zone"},
		Status: resources.ZoneStatus{Shards: 4},
	})
	z.must(&persistence.Bootstrap{Level: persistence.NewestLevel, Documents: []*persistence.Document{made}})
	z.must(&persistence.Place{Node: "n1"})
	z.must(z.create(version("1.0.0", true), true))
	z.must(z.create(version("2.0.0", false), true))
	const pools = 500
	for i := range pools {
		z.must(z.create(pool(fmt.Sprintf("pool-%d", i), 1), true))
	}
	ask := func(number string, change func(s *resources.DriverSpec)) (read int, err error) {
		d := version(number, number == "1.0.0")
		z.view(func(v *persistence.View) (err error) {
			d, err = persistence.Find[*resources.Driver](v, resources.KindDriver, "drv-"+number)
			return err
		})
		change(&d.Spec)
		s := z.submit("update", d.Ref(), d)
		s.Instant = true
		before := store.read
		err = z.apply(s)[0].Err
		return store.read - before, err
	}
	_, err = ask("1.0.0", func(s *resources.DriverSpec) { s.Enabled = false })
	if code(err) != resources.CodeDriverInUse {
		t.Errorf("disabling what is used: %v", err)
	}
	if _, err = ask("1.0.0", func(s *resources.DriverSpec) { s.Current = false }); code(err) != "validation-failed" {
		t.Errorf("making it not the current one: %v", err)
	}
	for what, change := range map[string]func(s *resources.DriverSpec){
		"install again": func(s *resources.DriverSpec) { s.Installs++ },
		"make current":  func(s *resources.DriverSpec) { s.Current = true },
	} {
		if read, err := ask("2.0.0", change); err != nil || read > pools/2 {
			t.Errorf("%s: %d were read, %v", what, read, err)
		}
	}
}
