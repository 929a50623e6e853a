package resources

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problems collects what is wrong with a spec, by JSON pointer.
type Problems struct {
	at     string
	fields *[]FieldError
}

// NewProblems starts a collection at a pointer, such as "/spec".
func NewProblems(at string) *Problems {
	return &Problems{at: at, fields: new([]FieldError)}
}

// In returns a view of the same collection one level deeper. Names of more than
// one level are written with slashes.
func (p *Problems) In(name string) *Problems {
	return &Problems{at: p.at + "/" + name, fields: p.fields}
}

// At returns a view of the same collection at element i.
func (p *Problems) At(i int) *Problems { return p.In(strconv.Itoa(i)) }

// Add reports the field at this view.
func (p *Problems) Add(code, format string, args ...any) {
	*p.fields = append(*p.fields, FieldError{Pointer: p.at, Code: code, Message: fmt.Sprintf(format, args...)})
}

// Err returns what was collected as an error of class invalid, or nil.
func (p *Problems) Err() error {
	if len(*p.fields) == 0 {
		return nil
	}
	return &Error{
		Class: ClassInvalid, Code: "validation-failed", Message: "the request can't be accepted as it is",
		Remedy: "correct the fields named", Fields: *p.fields,
	}
}

// Required reports an empty value.
func (p *Problems) Required(name, value string) bool {
	if value != "" {
		return true
	}
	p.In(name).Add("required", "is required")
	return false
}

// OneOf reports a value that is not among those allowed.
func (p *Problems) OneOf(name, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	p.In(name).Add("not-allowed", "must be one of %s", strings.Join(allowed, ", "))
}

// Between reports a number outside of [low, high].
func (p *Problems) Between(name string, value, low, high uint64) {
	if value < low || value > high {
		p.In(name).Add("out-of-range", "must be between %d and %d", low, high)
	}
}

// MaxLength reports a text that is too long or not UTF-8.
func (p *Problems) MaxLength(name, value string, limit int) {
	if !utf8.ValidString(value) {
		p.In(name).Add("not-utf8", "must be UTF-8 text")
	}
	if len(value) > limit {
		p.In(name).Add("too-long", "must not be longer than %d bytes", limit)
	}
}

var (
	namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$`)
	// idPattern is the form of ids: a name of that form could be taken for the resource that has the id.
	idPattern    = regexp.MustCompile(`^[a-z]+-[0-9a-hjkmnp-tv-z]{26}$`)
	labelPattern = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9_./]{0,61}[a-zA-Z0-9])?$`)
)

const (
	maxName        = 63 // as in namePattern
	maxLabels      = 64
	maxLabelLength = 63
)

// ValidateMeta reports what is wrong with a name and labels. Names are DNS
// labels with dots, so that a machine's name can be its host name.
func ValidateMeta(m *Meta, p *Problems) {
	if m.Name != "" && !namePattern.MatchString(m.Name) {
		p.In("name").Add("bad-name",
			"must be 1 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit")
	}
	if idPattern.MatchString(m.Name) {
		p.In("name").Add("bad-name", "must not have the form of an id")
	}
	if len(m.Labels) > maxLabels {
		p.In("labels").Add("too-many", "must not have more than %d labels", maxLabels)
	}
	for k, v := range m.Labels {
		if !labelPattern.MatchString(k) {
			p.In("labels").Add("bad-label", "keys must be 1 to 63 characters of a-z, A-Z, 0-9 and -_./")
			return
		}
		if v != "" && !labelPattern.MatchString(v) {
			p.In("labels/"+pointerEscape(k)).Add("bad-label",
				"values must be at most %d characters of a-z, A-Z, 0-9 and -_./", maxLabelLength)
		}
	}
}

// RequireName reports a missing name.
func RequireName(m *Meta, p *Problems) {
	if m.Name == "" {
		p.In("name").Add("required", "is required")
	}
}

func pointerEscape(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

func add(refs []Ref, kind Kind, id string) []Ref {
	if id == "" {
		return refs
	}
	return append(refs, Ref{Kind: kind, ID: id})
}

func facet(m map[string]string, name, value string) {
	if value != "" {
		m[name] = value
	}
}
