package cli

import "runtime/debug"

// Parsers and writers, for their tests.
var (
	ParseSize  = parseSize
	FormatSize = formatSize
	Clean      = clean
)

// BuildWords is what a program says of itself.
func BuildWords(version string, info *debug.BuildInfo) string { return buildOf(version, info).String() }
