package cli

import "runtime/debug"

// Parsers and writers, for their tests.
var (
	ParseSize  = parseSize
	FormatSize = formatSize
	Clean      = clean
)

// BuildWords is what a program says of itself, to people and to programs.
func BuildWords(version string, info *debug.BuildInfo) (words string, fields map[string]any) {
	b := buildOf(version, info)
	return b.String(), b.fields()
}
