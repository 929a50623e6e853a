package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a driver.yaml or an archive, and what to do about it.
type Problem struct {
	// File is the file of the archive it is in.
	File string `json:"file"`
	// Line in it, from 1; 0 when it is about the whole file.
	Line int `json:"line,omitempty"`
	// Path of the field: "permissions.write[0]".
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	// Remedy is one next step; it may be empty.
	Remedy string `json:"remedy,omitempty"`
}

// Error implements error: one line of words.
func (p Problem) Error() string {
	var text strings.Builder
	text.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&text, ":%d", p.Line)
	}
	if p.Path != "" {
		text.WriteString(": " + p.Path)
	}
	text.WriteString(": " + p.Message)
	if p.Remedy != "" {
		text.WriteString("; " + p.Remedy)
	}
	return text.String()
}

// InvalidError lists all that is wrong, in the order of the file.
type InvalidError struct {
	Problems []Problem
}

// Error implements error: one line per problem.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, problem := range e.Problems {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// invalid makes an error of problems; nil when there are none.
func invalid(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Path, b.Path))
	})
	return &InvalidError{Problems: problems}
}
