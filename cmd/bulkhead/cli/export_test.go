package cli

// Parsers and writers, for their tests.
var (
	ParseSize  = parseSize
	FormatSize = formatSize
	Clean      = clean
)
