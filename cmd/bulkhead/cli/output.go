package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
)

// style colours text for people at a terminal, and leaves it alone for all else.
type style struct{ colour bool }

// styleOf tells how to write to w: in colour to a terminal, unless NO_COLOR is
// set (no-color.org).
func styleOf(w io.Writer) style { return style{terminal(w) && os.Getenv("NO_COLOR") == ""} }

func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// widthOf is how many columns a terminal has; 0 if that is not known.
func widthOf(stream any) int {
	f, ok := stream.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// painted finds what paint adds.
var painted = regexp.MustCompile(`\x1b\[[0-9]*m`)

// rows is how many rows a line takes on a terminal, which wraps what is too long.
func rows(line string, width int) int {
	n := utf8.RuneCountInString(painted.ReplaceAllString(line, ""))
	if width <= 0 || n <= width {
		return 1
	}
	return (n + width - 1) / width
}

func (s style) paint(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bad(text string) string  { return s.paint("31", text) }
func (s style) good(text string) string { return s.paint("32", text) }
func (s style) busy(text string) string { return s.paint("33", text) }
func (s style) dim(text string) string  { return s.paint("2", text) }

// phase paints a phase by what it means.
func (s style) phase(text string) string {
	switch text {
	case "ready", "running", "succeeded", "done", "well", "committed":
		return s.good(text)
	case "failed", "degraded", "needs-operator", "expired":
		return s.bad(text)
	case "stopped", "paused", "cancelled", "deleted", "skipped", "waiting", "undone", "planned", "rolled-back":
		return s.dim(text)
	}
	if strings.HasPrefix(text, "silent") {
		return s.bad(text)
	}
	return s.busy(text)
}

// clean takes out what could steer a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			return utf8.RuneError
		}
		return r
	}, text)
}

// table prints aligned columns.
type table struct {
	style style
	head  []string
	rows  [][]string
}

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	t.rows = append(t.rows, cells)
}

const columnGap = "  "

func (t *table) print(w io.Writer) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	t.line(w, widths, t.head, func(_, text string) string { return t.style.dim(text) })
	for _, row := range t.rows {
		t.line(w, widths, row, func(column, text string) string {
			if column == "PHASE" || column == "STATE" {
				return t.style.phase(text)
			}
			return text
		})
	}
}

func (t *table) line(w io.Writer, widths []int, row []string, paint func(column, text string) string) {
	var b strings.Builder
	for i, cell := range row {
		b.WriteString(paint(t.head[i], cell))
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + columnGap)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// encode writes a value as JSON or YAML.
func encode(w io.Writer, format string, value any) error {
	if format == formatYAML {
		e := yaml.NewEncoder(w)
		e.SetIndent(2)
		if err := e.Encode(plain(value)); err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		return e.Close()
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// plain turns JSON numbers into numbers, which YAML would take for texts.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, inner := range v {
			m[k] = plain(inner)
		}
		return m
	case []map[string]any:
		list := make([]any, len(v))
		for i, inner := range v {
			list[i] = plain(inner)
		}
		return list
	case []any:
		list := make([]any, len(v))
		for i, inner := range v {
			list[i] = plain(inner)
		}
		return list
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	}
	return v
}
