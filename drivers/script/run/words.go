package run

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// maxLine is where a line is cut.
const maxLine = 4096

// say passes lines on, up to MaxWords bytes, and counts the bytes that follow. It reads to the end in any case: a
// program must not stand still because it says too much.
func say(from io.Reader, line func(string)) (dropped int) {
	reader := bufio.NewReaderSize(from, maxLine)
	left := MaxWords
	for {
		text, err := reader.ReadSlice('\n')
		if len(text) > left || line == nil {
			dropped, left = dropped+len(text), 0
		} else if len(text) > 0 {
			left -= len(text)
			if said := strings.ToValidUTF8(strings.TrimRight(string(text), "\r\n"), "�"); said != "" {
				line(said)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return dropped
		}
	}
}
