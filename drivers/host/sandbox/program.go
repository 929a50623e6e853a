package sandbox

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// ExecPaths lists the files that must be executable for the program at path to run: itself, by its real path, its
// ELF interpreter, and for a script the program after "#!" with its own.
func ExecPaths(path string) ([]string, error) {
	paths, err := execPaths(path)
	if err != nil || !isScript(path) {
		return paths, err
	}
	interpreter, err := shebang(path)
	if err != nil {
		return nil, err
	}
	more, err := execPaths(interpreter)
	return append(paths, more...), err
}

func execPaths(path string) ([]string, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("looking for program %q: the path is not absolute", path)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("looking for program %s: %w", path, err)
	}
	paths := []string{real}
	file, err := elf.Open(real)
	if err != nil {
		return paths, nil // not ELF: a script, which has no interpreter of this kind
	}
	defer func() { _ = file.Close() }()
	for _, segment := range file.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(segment.Open(), 4096))
		if err != nil {
			return nil, fmt.Errorf("reading the interpreter of %s: %w", path, err)
		}
		loader, err := filepath.EvalSymlinks(strings.TrimRight(string(name), "\x00"))
		if err != nil {
			return nil, fmt.Errorf("looking for the interpreter of %s: %w", path, err)
		}
		paths = append(paths, loader)
	}
	return paths, nil
}

func isScript(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	var magic [2]byte
	_, err = io.ReadFull(file, magic[:])
	return err == nil && string(magic[:]) == "#!"
}

func shebang(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading script %s: %w", path, err)
	}
	defer func() { _ = file.Close() }()
	line, err := bufio.NewReader(io.LimitReader(file, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading script %s: %w", path, err)
	}
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if len(words) == 0 {
		return "", fmt.Errorf("reading script %s: its #! line names no program", path)
	}
	return words[0], nil
}
