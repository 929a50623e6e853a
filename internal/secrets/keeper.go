package secrets

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Keeper seals and opens what is secret in resources, with the keys that there are at the time. Safe for concurrent
// use. A nil one has no keys.
type Keeper struct{ ring atomic.Pointer[Ring] }

// Secret says which properties of a scope the driver of a product calls secret; the drivers of any, if it is "".
type Secret func(product string, scope resources.Kind) (map[string]bool, error)

// Ring is what the keeper has.
func (k *Keeper) Ring() Ring {
	if k == nil {
		return Ring{}
	}
	if r := k.ring.Load(); r != nil {
		return *r
	}
	return Ring{}
}

// Use has the keeper use other keys from now on.
func (k *Keeper) Use(r Ring) { k.ring.Store(&r) }

// Part tells settings that are secret from the others, in clear. What is sealed and is not secret any more is among
// the others. What can't be opened is in neither, and in the error, a *resources.Error that names each of them.
func (k *Keeper) Part(
	s resources.Settings, secret map[string]bool,
) (open map[string]any, closed map[string]string, err error) {
	open, closed = make(map[string]any, len(s.Values)), map[string]string{}
	var shut []string
	var why error
	for key, value := range s.Values {
		text, ok := value.(string)
		if sealed, is := resources.SealedText(value); is {
			if text, err = k.open(s, key, sealed); err != nil {
				shut, why = append(shut, key), errors.Join(why, err)
				continue
			}
			value, ok = text, true
		}
		if ok && secret[key] {
			closed[key] = text
			continue
		}
		open[key] = value
	}
	return open, closed, refusal(s, shut, why)
}

func (k *Keeper) open(s resources.Settings, key, sealed string) (string, error) {
	if sealed == "" {
		return "", errLost
	}
	return k.Ring().Open(s.Owner, s.At+key, sealed)
}

var errLost = errors.New("it was lost with the keys it was sealed with")

// refusal says which secrets can't be had: what is lost somebody can give again, and a key may be on another node.
func refusal(s resources.Settings, shut []string, why error) error {
	if why == nil {
		return nil
	}
	slices.Sort(shut)
	if !errors.Is(why, errLost) {
		return fmt.Errorf("%w: %w", &resources.Error{
			Class: resources.ClassUnavailable, Code: "no-secret-keys", Resource: &s.Owner,
			Message: fmt.Sprintf("secrets of this %s can't be opened on this node: %v", s.Scope, shut),
			Remedy:  "see the node's log: it lacks the keys, or what they sealed was damaged",
		}, why)
	}
	e := &resources.Error{
		Class: resources.ClassConflict, Code: resources.CodeSecretLost, Resource: &s.Owner,
		Message: fmt.Sprintf("secrets of this %s are lost: %v", s.Scope, shut),
		Remedy:  "give them again: bulkhead " + string(s.Scope) + " update",
	}
	for _, key := range shut {
		e.Fields = append(e.Fields, resources.FieldError{
			Pointer: s.Pointer(key), Code: e.Code, Message: "must be given again",
		})
	}
	return fmt.Errorf("%w: %w", e, why)
}

// Protect seals the secrets of a resource that lie in it in clear, and has data keys sealed with the key that seals
// now. What is as it was before, in a resource that is changed, stays as it was sealed; before may be nil. What can't
// be opened stays as it is. Changed reports whether anything did. The error is ErrNoKey if there are no keys.
func (k *Keeper) Protect(r, before resources.Resource, secret Secret) (changed bool, err error) {
	had := map[string]resources.Settings{}
	if before != nil {
		for _, s := range resources.SettingsOf(before) {
			had[s.At] = s
		}
	}
	ring := k.Ring()
	for _, s := range resources.SettingsOf(r) {
		hidden, err := secret(s.Product, s.Scope)
		if err != nil {
			return changed, err
		}
		p := protection{ring: ring, settings: s, had: had[s.At].Values, next: map[string]any{}}
		if err := p.seal(hidden); err != nil {
			return changed, err
		}
		if len(p.next) > 0 {
			next := maps.Clone(s.Values)
			maps.Copy(next, p.next)
			s.Put(next)
			changed = true
		}
	}
	return changed, nil
}

// protection is the sealing of what is secret in some settings.
type protection struct {
	ring     Ring
	settings resources.Settings
	had      map[string]any // that they were
	next     map[string]any // that are new
}

func (p *protection) seal(hidden map[string]bool) error {
	fresh, beside := map[string]string{}, ""
	for key, value := range p.settings.Values {
		text, ok := value.(string)
		sealed, is := resources.SealedText(value)
		switch anew, usable := p.rewrap(sealed); {
		case is && usable:
			beside = anew
			if anew != sealed {
				p.next[key] = resources.Sealed(anew)
			}
		case ok && hidden[key] && !p.keep(key, text):
			fresh[p.settings.At+key] = text
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	sealed, err := p.ring.Seal(p.settings.Owner, fresh, p.beside(beside))
	for field, text := range sealed {
		p.next[strings.TrimPrefix(field, p.settings.At)] = resources.Sealed(text)
	}
	return err
}

// keep has what was sealed before stand for a secret that was given again as it was.
func (p *protection) keep(key, text string) bool {
	sealed, _ := resources.SealedText(p.had[key])
	anew, usable := p.rewrap(sealed)
	if !usable {
		return false
	}
	if was, err := p.ring.Open(p.settings.Owner, p.settings.At+key, sealed); err != nil || was != text {
		return false
	}
	p.next[key] = resources.Sealed(anew)
	return true
}

func (p *protection) rewrap(sealed string) (anew string, usable bool) {
	if sealed == "" {
		return "", false
	}
	anew, err := p.ring.Rewrap(p.settings.Owner, sealed)
	return anew, err == nil && p.ring.Has(resources.SealingKey(sealed))
}

// beside is something that has the resource's data key.
func (p *protection) beside(found string) string {
	for _, value := range p.had {
		sealed, is := resources.SealedText(value)
		if !is || found != "" {
			continue
		}
		if anew, usable := p.rewrap(sealed); usable {
			found = anew
		}
	}
	return found
}

// Some reports whether a resource has secrets, sealed or in clear.
func Some(r resources.Resource, secret Secret) (bool, error) {
	for _, s := range resources.SettingsOf(r) {
		hidden, err := secret(s.Product, s.Scope)
		if err != nil {
			return false, err
		}
		for key, value := range s.Values {
			_, text := value.(string)
			if _, sealed := resources.SealedText(value); sealed || text && hidden[key] {
				return true, nil
			}
		}
	}
	return false, nil
}

// Forsake gives up the secrets of a resource that are sealed with none of the keeper's keys: nothing is left of them
// but that they were there. It reports whether there were any.
func (k *Keeper) Forsake(r resources.Resource) (some bool) {
	ring := k.Ring()
	for _, s := range resources.SettingsOf(r) {
		next := maps.Clone(s.Values)
		for key, value := range s.Values {
			text, sealed := resources.SealedText(value)
			if sealed && text != "" && !ring.Has(resources.SealingKey(text)) {
				next[key], some = resources.Sealed(""), true
			}
		}
		s.Put(next)
	}
	return some
}

// Apart returns the record of a driver as its processes are told it: with what is secret of its own in Spec.Secrets, in
// clear, and nowhere else. The record itself stays as it is. What can't be opened is left out, and in the error.
func (k *Keeper) Apart(record *resources.Driver) (*resources.Driver, error) {
	secret := map[string]bool{}
	for _, p := range record.Status.Properties {
		secret[p.Key] = secret[p.Key] || p.Secret && p.Scope == string(resources.KindDriver)
	}
	told := *record
	for _, s := range resources.SettingsOf(record) {
		open, closed, err := k.Part(s, secret)
		maps.Copy(closed, record.Spec.Secrets)
		told.Spec.Properties, told.Spec.Secrets = open, closed
		if err != nil {
			return &told, err
		}
	}
	return &told, nil
}
