package gossip

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// farewell is what a member that leaves has all others hear: memberlist tells a farewell from a death only to itself,
// and loses it where somebody else spoke of death first. It is passed on by all that it was news to, and it is in what
// two members compare, so that one who missed it learns of it later.
type farewell struct {
	Name string `json:"n"`
	// Life is that of the announcement: who comes back by the same name has another one.
	Life uint64 `json:"i"`
}

// maxFarewellBytes bounds what is taken in. A name may grow six times when it is encoded.
const maxFarewellBytes = 64 + 6*maxNameBytes

func (f farewell) check() error {
	if f.Name == "" || len(f.Name) > maxNameBytes || f.Life == 0 {
		return fmt.Errorf("%w: a farewell of %q, life %d", ErrFacts, f.Name, f.Life)
	}
	return nil
}

func encodeFarewells(all []farewell) ([]byte, error) {
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encoding farewells: %w", err)
	}
	return data, nil
}

// decodeFarewells takes all or nothing.
func decodeFarewells(data []byte) ([]farewell, error) {
	if len(data) > maxGone*maxFarewellBytes {
		return nil, fmt.Errorf("%w: %d bytes of farewells", ErrFacts, len(data))
	}
	var all []farewell
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%w: farewells: %w", ErrFacts, err)
	}
	if len(all) > maxGone {
		return nil, fmt.Errorf("%w: %d farewells", ErrFacts, len(all))
	}
	for _, f := range all {
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// news is a farewell on its way.
type news struct {
	farewell farewell
	data     []byte
	over     chan struct{} // nil, or closed when it was passed on often enough
}

func newNews(f farewell, over chan struct{}) (*news, error) {
	data, err := encodeFarewells([]farewell{f})
	if err != nil {
		return nil, err
	}
	return &news{farewell: f, data: data, over: over}, nil
}

// Invalidates implements memberlist.Broadcast: there is one farewell of a member at a time.
func (n *news) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(*news)
	return ok && o.farewell.Name == n.farewell.Name
}

// Message implements memberlist.Broadcast.
func (n *news) Message() []byte { return n.data }

// Finished implements memberlist.Broadcast.
func (n *news) Finished() {
	if n.over != nil {
		close(n.over)
	}
}
