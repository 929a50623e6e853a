package gossip

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// MaxFactsBytes is how long the encoded facts of a node may be.
const MaxFactsBytes = memberlist.MetaMaxSize

// Facts are what a node tells all others of itself. They may be compared with ==. Facts of a newer version may
// have more in them, which is ignored.
type Facts struct {
	// ClusterID is the cluster it belongs to. It never changes while it runs.
	ClusterID string `json:"c"`
	// Version is the program's.
	Version string `json:"v,omitempty"`
	// Address is where it is reached by the other nodes of the cluster, host:port.
	Address string `json:"a,omitempty"`
	// Role is a word of the caller's for what it does.
	Role string `json:"r,omitempty"`
	// Protocol is a number of the caller's for what it understands.
	Protocol uint32 `json:"p,omitempty"`
}

// announcement is what travels: the facts, and a number that each process draws, by which a farewell of this one is
// told from that of another which had its name.
type announcement struct {
	Facts
	Life uint64 `json:"i,omitempty"`
}

func (a announcement) encode() ([]byte, error) {
	if a.ClusterID == "" {
		return nil, fmt.Errorf("%w: no cluster id", ErrFacts)
	}
	data, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encoding facts: %w", err)
	}
	if len(data) > MaxFactsBytes {
		return nil, fmt.Errorf("%w: %d bytes when encoded, at most %d can be spread", ErrFacts, len(data), MaxFactsBytes)
	}
	return data, nil
}

func decodeAnnouncement(data []byte) (announcement, error) {
	var a announcement
	if len(data) > MaxFactsBytes {
		return a, fmt.Errorf("%w: %d bytes", ErrFacts, len(data))
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return announcement{}, fmt.Errorf("%w: %w", ErrFacts, err)
	}
	return a, nil
}
