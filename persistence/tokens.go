package persistence

import (
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// keepAdmin refuses to take away the last token that lets an administrator in:
// nobody could make another. Next is what becomes of it; nil = it goes. It is
// asked while the command is applied, so of two that each would leave the other
// one's token, the second is refused.
func (t *tx) keepAdmin(old, next resources.Resource) error {
	if !t.admits(old) || t.admits(next) {
		return nil
	}
	another := false
	m := old.Metadata()
	err := t.Each(m.Kind, map[string]string{"role": string(resources.RoleAdmin)}, func(r resources.Resource) bool {
		another = r.Metadata().ID != m.ID && t.admits(r)
		return !another
	})
	if err != nil || another {
		return err
	}
	ref := m.Ref()
	return &resources.Error{
		Class: resources.ClassConflict, Code: "last-admin-token",
		Message:  "token " + m.Name + " (" + m.ID + ") is the only one left that lets an administrator in",
		Remedy:   "create another token with the role admin first; then repeat this with that one",
		Resource: &ref,
	}
}

// admits reports whether r is a token that lets an administrator in now.
func (t *tx) admits(r resources.Resource) bool {
	token, ok := r.(*resources.Token)
	if !ok || token == nil {
		return false
	}
	return token.Spec.Role == resources.RoleAdmin && token.Phase == resources.PhaseReady && !token.Suspended &&
		lasts(token, t.at)
}

func lasts(token *resources.Token, at time.Time) bool {
	return token.Spec.ExpiresAt.IsZero() || at.Before(token.Spec.ExpiresAt)
}
