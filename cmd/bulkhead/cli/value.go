package cli

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"
)

// at finds a value by its path, such as "status.sizeBytes"; nil if it is not
// there.
func at(o map[string]any, path string) any {
	var v any = o
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// text is a value by its path, as text.
func text(o map[string]any, path string) string { return show(at(o, path)) }

// show writes a value in one line.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = show(e)
		}
		return strings.Join(parts, ",")
	case map[string]any:
		parts := make([]string, 0, len(v))
		for k, e := range v {
			parts = append(parts, k+"="+show(e))
		}
		sort.Strings(parts)
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v)
}

// size is a number of bytes by its path, for people; "" if there is none.
func size(o map[string]any, path string) string {
	n, ok := at(o, path).(json.Number)
	if !ok {
		return ""
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return formatSize(f)
}

// moment is a time by its path; zero if there is none.
func moment(o map[string]any, path string) time.Time {
	t, err := time.Parse(time.RFC3339, text(o, path))
	if err != nil {
		return time.Time{}
	}
	return t
}

// age is how long ago a time was.
func age(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	d := now.Sub(then)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// put sets a value at a path, making the objects on the way.
func put(o map[string]any, path string, v any) {
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := o[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			o[name] = inner
		}
		o = inner
	}
	o[names[len(names)-1]] = v
}
