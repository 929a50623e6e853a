package property

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

var keySyntax = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)

// Check says all that is wrong with a list of properties: a *resources.Error of class invalid whose pointers are
// relative to the list ("/3/pattern"), or nil.
func Check(all []resources.Property) error {
	p := resources.NewProblems("")
	if len(all) > maxProperties {
		p.Add("too-many", "must not hold more than %d properties", maxProperties)
		return p.Err()
	}
	seen := map[[2]string]bool{}
	for i, one := range all {
		at := p.At(i)
		name := [2]string{one.Scope, one.Key}
		if seen[name] {
			at.In("key").Add("duplicate", "is described twice in scope %s", one.Scope)
		}
		seen[name] = true
		checkNames(at, one)
		checkLimits(at, one)
		checkSecret(at, one)
		checkOperation(at, one)
		if one.Role != "" && one.Role != resources.RoleOperator && one.Role != resources.RoleAdmin {
			at.In("role").Add("not-allowed", "must be operator or admin")
		}
		checkFixed(at, one)
	}
	return p.Err()
}

func checkNames(p *resources.Problems, one resources.Property) {
	if len(one.Key) > maxKey || !keySyntax.MatchString(one.Key) {
		p.In("key").Add("bad-format", "must begin with a letter, go on with letters, digits, '-', '_' and '.', "+
			"and have at most %d characters", maxKey)
	}
	if wrong := CheckScope(one.Scope); wrong != "" {
		p.In("scope").Add("not-allowed", "%s", wrong)
	}
	p.MaxLength("label", one.Label, maxLabel)
	p.MaxLength("description", one.Description, maxDescription)
	p.MaxLength("group", one.Group, maxKey)
	p.MaxLength("labelKey", one.LabelKey, maxLabel)
	p.MaxLength("descriptionKey", one.DescriptionKey, maxLabel)
	p.OneOf("type", one.Type, TypeString, TypeNumber, TypeBoolean, TypeDate)
	if one.PathAccess != "" && one.Type != TypeString {
		p.In("pathAccess").Add("wrong-type", "is for properties of type string")
	}
}

func checkLimits(p *resources.Problems, one resources.Property) {
	if one.Type != TypeString && (one.MaxLength > 0 || one.Pattern != "") {
		p.In("type").Add("wrong-type", "must be string: only texts have a longest length and a pattern")
	}
	if one.MaxLength > MaxText {
		p.In("maxLength").Add("out-of-range", "must be at most %d bytes", MaxText)
	}
	checkPattern(p.In("pattern"), one.Pattern)
	checkRange(p, one)
}

func checkRange(p *resources.Problems, one resources.Property) {
	if one.Type != TypeNumber && (one.Min != nil || one.Max != nil) {
		p.In("type").Add("wrong-type", "must be number: only numbers have a smallest and a largest value")
	}
	for name, limit := range map[string]*float64{"min": one.Min, "max": one.Max} {
		if limit != nil && (math.IsNaN(*limit) || math.IsInf(*limit, 0)) {
			p.In(name).Add("out-of-range", "must be a number that JSON can hold")
		}
	}
	if one.Min != nil && one.Max != nil && *one.Min > *one.Max {
		p.In("min").Add("out-of-range", "must not be above max")
	}
}

// checkPattern takes what RE2 takes: no pattern makes it slow.
func checkPattern(p *resources.Problems, pattern string) {
	if len(pattern) > maxPattern || !utf8.ValidString(pattern) {
		p.Add("too-long", "must be UTF-8 text of at most %d bytes", maxPattern)
		return
	}
	// By itself first: what closes a group that it did not open would otherwise close ours.
	if _, err := syntax.Parse(pattern, syntax.Perl); err != nil {
		p.Add("bad-format", "must be a regular expression as RE2 knows them: %v", err)
	}
}

func checkSecret(p *resources.Problems, one resources.Property) {
	switch {
	case !one.Secret:
	case one.Type != TypeString:
		p.In("type").Add("wrong-type", "must be string: secrets are texts")
	case one.Default != nil, len(one.Enum) > 0:
		p.In("secret").Add("not-allowed", "a secret can have neither a default nor a list of values: everybody reads those")
	case one.PathAccess != "":
		p.In("secret").Add("not-allowed", "a path can't be secret: the host's administrators see it")
	}
}

// CheckActions says all that is wrong with the roles that actions take, as Check does.
func CheckActions(all []resources.ActionRole) error {
	p := resources.NewProblems("")
	vocabulary := resources.NewVocabulary()
	for i, one := range all {
		kind, name, _ := strings.Cut(one.Action, "/")
		if a, known := vocabulary.Action(resources.Kind(kind), name); !known || a.Internal {
			p.At(i).In("action").Add("not-allowed", "must be the kind and name of an action, such as volume/revert")
		}
		if slices.ContainsFunc(all[:i], func(o resources.ActionRole) bool { return o.Action == one.Action }) {
			p.At(i).In("action").Add("duplicate", "is listed twice")
		}
		if one.Role != resources.RoleOperator && one.Role != resources.RoleAdmin {
			p.At(i).In("role").Add("not-allowed", "must be operator or admin")
		}
	}
	return p.Err()
}

// checkOperation refuses what makes no sense for an operation: it is begun by others too, who know nothing of it, and
// what a driver is let at does not come and go with each.
func checkOperation(p *resources.Problems, one resources.Property) {
	if !IsOperation(one.Scope) {
		return
	}
	if one.Required {
		p.In("required").Add("not-allowed", "a property of an operation can't be required: operations are begun without a "+
			"user too, as when a host is lost; give it a default")
	}
	if one.Immutable {
		p.In("immutable").Add("not-allowed", "a property of an operation is not kept: there is nothing to change")
	}
	if one.PathAccess != "" {
		p.In("pathAccess").Add("not-allowed", "a property of an operation can't open paths: give it to the resource's")
	}
}

// checkFixed holds the default and the values allowed to what the property says of values.
func checkFixed(p *resources.Problems, one resources.Property) {
	if len(one.Enum) > maxEnum {
		p.In("enum").Add("too-many", "must not hold more than %d values", maxEnum)
		return
	}
	open := one
	open.Enum = nil
	for i, value := range one.Enum {
		if wrong := misfit(open, value); wrong != "" {
			p.In("enum").At(i).Add("not-allowed", "%s", wrong)
		}
	}
	if one.Default == nil {
		return
	}
	if wrong := misfit(open, one.Default); wrong != "" {
		p.In("default").Add("not-allowed", "%s", wrong)
	} else if len(one.Enum) > 0 && !slices.ContainsFunc(one.Enum, func(v any) bool { return same(v, one.Default) }) {
		p.In("default").Add("not-allowed", "must be one of the values allowed")
	}
}

// misfit says what is wrong with a value that the descriptor itself holds.
func misfit(one resources.Property, value any) string {
	switch one.Type {
	case TypeBoolean:
		if _, ok := value.(bool); !ok {
			return "must be true or false"
		}
	case TypeNumber:
		return misfitNumber(one, value)
	case TypeDate:
		text, ok := value.(string)
		if _, err := time.Parse(time.DateOnly, text); !ok || err != nil {
			return "must be a date such as 2026-01-31"
		}
	case TypeString:
		return misfitText(one, value)
	}
	return ""
}

func misfitNumber(one resources.Property, value any) string {
	n, ok := number(value)
	if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
		return "must be a number"
	}
	if one.Min != nil && n < *one.Min || one.Max != nil && n > *one.Max {
		return "is outside of what min and max allow"
	}
	return ""
}

func misfitText(one resources.Property, value any) string {
	text, ok := value.(string)
	if !ok || !utf8.ValidString(text) {
		return "must be text"
	}
	if len(text) > longest(one) {
		return fmt.Sprintf("is longer than %d bytes", longest(one))
	}
	re, err := regexp.Compile(anchored(one.Pattern))
	if one.Pattern != "" && err == nil && !re.MatchString(text) {
		return "does not match the pattern"
	}
	return ""
}

func longest(p resources.Property) int {
	if p.MaxLength > 0 {
		return int(p.MaxLength)
	}
	return MaxText
}

// anchored makes a pattern one of whole texts.
func anchored(pattern string) string { return "^(?:" + pattern + ")$" }

// number is a value as decoders yield it.
func number(value any) (float64, bool) {
	switch n := value.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case int:
		return float64(n), true
	}
	return 0, false
}

// same compares two values of properties, however they were decoded.
func same(a, b any) bool {
	if x, ok := number(a); ok {
		y, also := number(b)
		return also && x == y
	}
	switch a.(type) {
	case string, bool, nil:
		return a == b
	}
	return false
}

// plainText is text without what a terminal or a page would take for more than text.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
