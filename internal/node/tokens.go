package node

import (
	"sync"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// tokens are those that were asked for since one of them changed: every request is let in by one.
type tokens struct {
	machine *persistence.Machine

	mu      sync.Mutex
	changes uint64 // that the machine counted before these were read
	byID    map[string]*resources.Token
}

// mostTokens bounds how many are known.
const mostTokens = 1024

// find returns a token, nil if it is not known, and the revision it stands at.
func (t *tokens) find(id string) (token *resources.Token, revision uint64) {
	revision = t.machine.AppliedIndex() // what that has changed is counted
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changes != t.machine.Changes(resources.KindToken) {
		return nil, 0
	}
	return t.byID[id], revision
}

// keep remembers a token that was read after so many changes.
func (t *tokens) keep(token *resources.Token, changes uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changes != changes || len(t.byID) >= mostTokens {
		t.changes, t.byID = changes, map[string]*resources.Token{}
	}
	t.byID[token.ID] = token
}
