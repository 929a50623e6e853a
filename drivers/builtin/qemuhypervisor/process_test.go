package qemuhypervisor_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// alive tells whether a process runs. One that has ended, and whose parent does not care, does not.
func alive(pid int) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	return !bytes.HasPrefix(text[bytes.LastIndexByte(text, ')')+1:], []byte(" Z"))
}
