package process

// ParseStart is the parser of stat files, for its fuzz test.
func ParseStart(text []byte) (start uint64, ended bool, err error) {
	parsed, err := parseStat(text)
	return parsed.start, parsed.ended, err
}
