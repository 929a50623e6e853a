package property

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// What message files may hold at most.
const (
	maxLanguages = 64
	maxFile      = 256 << 10
	maxMessages  = 4096
	maxMessage   = 4096
	// maxPreferences bounds what a reader may say of languages, in bytes.
	maxPreferences = 256
)

// Fallback is the language of whoever wants one that there is not.
const Fallback = "en"

// Messages are the texts of a driver, by language and key. The zero value has none. It does not change.
type Messages struct {
	tags    []language.Tag
	texts   []map[string]string // as tags
	matcher language.Matcher
}

// ReadMessages reads the message files of a folder: one JSON object of texts by key for each language, in
// <language>.json (BCP 47: "de", "pt-BR"). A folder that is not there holds none.
func ReadMessages(files fs.FS, dir string) (Messages, error) {
	entries, err := fs.ReadDir(files, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Messages{}, nil
	}
	if err != nil {
		return Messages{}, fmt.Errorf("reading message files: %w", err)
	}
	all := map[string]map[string]string{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || e.IsDir() {
			return Messages{}, fmt.Errorf("message file %s: must be named after its language: en.json", e.Name())
		}
		texts, err := readFile(files, path.Join(dir, e.Name()))
		if err != nil {
			return Messages{}, fmt.Errorf("message file %s: %w", e.Name(), err)
		}
		all[name] = texts
	}
	return NewMessages(all)
}

func readFile(files fs.FS, name string) (map[string]string, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("must be a file of at most %d bytes", maxFile)
	}
	data, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	return ParseMessages(data)
}

// ParseMessages reads one message file.
func ParseMessages(data []byte) (map[string]string, error) {
	var texts map[string]string
	if len(data) > maxFile || !utf8.Valid(data) {
		return nil, fmt.Errorf("must be UTF-8 text of at most %d bytes", maxFile)
	}
	if err := json.Unmarshal(data, &texts); err != nil {
		return nil, fmt.Errorf("must be one JSON object whose values are texts: %w", err)
	}
	if len(texts) > maxMessages {
		return nil, fmt.Errorf("must not hold more than %d messages", maxMessages)
	}
	for key, text := range texts {
		if key == "" || len(key) > maxLabel || len(text) > maxMessage {
			return nil, fmt.Errorf("message %q: a key must have 1 to %d bytes, a text at most %d",
				key[:min(len(key), maxLabel)], maxLabel, maxMessage)
		}
	}
	return texts, nil
}

// NewMessages makes messages of texts by language and key.
func NewMessages(all map[string]map[string]string) (Messages, error) {
	if len(all) > maxLanguages {
		return Messages{}, fmt.Errorf("there must not be messages in more than %d languages", maxLanguages)
	}
	var m Messages
	names := slices.Sorted(maps.Keys(all))
	slices.SortStableFunc(names, func(a, b string) int { // who matches nothing gets the first
		switch {
		case a == Fallback && b != Fallback:
			return -1
		case b == Fallback && a != Fallback:
			return 1
		}
		return 0
	})
	for _, name := range names {
		tag, err := language.Parse(name)
		if err != nil || tag.String() != name {
			return Messages{}, fmt.Errorf("%q is no language as BCP 47 writes it, such as de or pt-BR", name)
		}
		m.tags, m.texts = append(m.tags, tag), append(m.texts, maps.Clone(all[name]))
	}
	if len(m.tags) > 0 {
		m.matcher = language.NewMatcher(m.tags)
	}
	return m, nil
}

// Languages lists those there are, in the order of preference for who wants none of them.
func (m Messages) Languages() []string {
	var names []string
	for _, t := range m.tags {
		names = append(names, t.String())
	}
	return names
}

// Speak chooses the language for a reader, who prefers what an Accept-Language header says. What can't be read asks
// for nothing.
func (m Messages) Speak(preferences string) Speech {
	wanted := wants(preferences)
	own := errorTexts()
	return Speech{texts: m.choose(wanted), fallback: m.choose(nil), own: own.choose(wanted), ownFallback: own.choose(nil)}
}

func wants(preferences string) []language.Tag {
	if len(preferences) > maxPreferences {
		return nil
	}
	tags, _, err := language.ParseAcceptLanguage(preferences)
	if err != nil {
		return nil
	}
	return tags
}

// choose returns the texts of the language that comes nearest; those of the fallback if none does.
func (m Messages) choose(wanted []language.Tag) map[string]string {
	if m.matcher == nil {
		return nil
	}
	if len(wanted) > 0 {
		if _, i, confidence := m.matcher.Match(wanted...); confidence != language.No {
			return m.texts[i]
		}
	}
	if m.tags[0].String() != Fallback {
		return nil // the description itself has English texts
	}
	return m.texts[0]
}

// Lint says what is wrong with the message files of a driver that describes these properties: keys without an English
// text, and translations of what English does not have. The error is of class invalid with pointers such as
// "/en/pool.path.label".
func (m Messages) Lint(all []resources.Property) error {
	p := resources.NewProblems("")
	english, asked := m.of(Fallback), map[string]bool{}
	for _, one := range all {
		for _, key := range []string{one.LabelKey, one.DescriptionKey} {
			if key == "" || asked[key] {
				continue
			}
			asked[key] = true
			if english[key] == "" {
				p.In(Fallback).In(key).Add("required", "is missing, and property %s of scope %s asks for it", one.Key, one.Scope)
			}
		}
	}
	for i, tag := range m.tags {
		for _, key := range slices.Sorted(maps.Keys(m.texts[i])) {
			if _, known := english[key]; !known {
				p.In(tag.String()).In(key).Add("unknown-key", "translates what %s.json does not have", Fallback)
			}
		}
	}
	return p.Err()
}

func (m Messages) of(name string) map[string]string {
	for i, t := range m.tags {
		if t.String() == name {
			return m.texts[i]
		}
	}
	return nil
}
