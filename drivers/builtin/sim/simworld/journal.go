package simworld

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

const (
	journalName = "journal.jsonl"
	// chunkBytes are read at once, at most.
	chunkBytes = 1 << 20
	// maxLineBytes bounds one effect; the largest is a network with all its rules.
	maxLineBytes = 16 << 20
)

// ErrOtherJournal says that the world already keeps its journal at another path.
var ErrOtherJournal = errors.New("the world keeps its journal elsewhere")

// journal is the file of one world, opened by this process. Its owner serialises calls.
type journal struct {
	file *os.File
	read int64 // up to here everything is known to the owner
	scan scanner
	// Reused for each line: a world of a million things is read without leaving as much garbage.
	line   []byte
	effect Effect
}

// openJournal opens the journal in dir, and makes it if need be: at path, if given, with a link in dir that leads all
// later openers there.
func openJournal(dir, path string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o770); err != nil {
		return nil, fmt.Errorf("making the world's directory: %w", err)
	}
	link := filepath.Join(dir, journalName)
	if err := place(link, path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(link, os.O_RDWR|os.O_CREATE, 0o660)
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	// Instances of several users share a world through its group, whatever the umask; only the owner can say so.
	if err := file.Chmod(0o660); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, errors.Join(fmt.Errorf("sharing the journal: %w", err), file.Close())
	}
	return newJournal(file), nil
}

func newJournal(file *os.File) *journal {
	return &journal{file: file, scan: scanner{names: map[string]string{}}}
}

// place makes sure that link leads to path.
func place(link, path string) error {
	if path == "" {
		return nil
	}
	path, err := filepath.Abs(path)
	if err != nil || path == link {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o770); err != nil {
		return fmt.Errorf("making the journal's directory: %w", err)
	}
	err = os.Symlink(path, link)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("placing the journal: %w", err)
	}
	if target, _ := os.Readlink(link); target != path {
		if target == "" {
			target = link
		}
		return fmt.Errorf("placing the journal at %s: %w: at %s", path, ErrOtherJournal, target)
	}
	return nil
}

func (j *journal) close() error {
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("closing the journal: %w", err)
	}
	return nil
}

// lock waits for the other processes of this world; shared for readers.
func (j *journal) lock(how int) error {
	for {
		err := syscall.Flock(int(j.file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			if err != nil {
				return fmt.Errorf("locking the journal: %w", err)
			}
			return nil
		}
	}
}

func (j *journal) unlock() {
	// Fails for a bad descriptor only, and then there is no lock either.
	_ = syscall.Flock(int(j.file.Fd()), syscall.LOCK_UN)
}

// grown tells whether others appended something. It needs no lock.
func (j *journal) grown() (bool, error) {
	behind, err := j.behind()
	return behind != 0, err
}

// behind is how many bytes others appended; less than none if somebody cut it.
func (j *journal) behind() (int64, error) {
	info, err := j.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("looking at the journal: %w", err)
	}
	return info.Size() - j.read, nil
}

// catchUp hands on the effects appended since the last time, each good until the next. The caller holds the lock; with
// repair, for which it must be the exclusive one, a line that a dying process left without its end is cut off.
func (j *journal) catchUp(repair bool, each func(*Effect) error) error {
	behind, err := j.behind()
	if err != nil || behind == 0 {
		return err
	}
	// One more than there is shows that there is no more: mostly that is what another process did just now.
	buffer := make([]byte, min(max(behind, 0)+1, chunkBytes))
	for filled := 0; ; {
		n, err := j.file.ReadAt(buffer[filled:], j.read+int64(filled))
		filled += n
		used, lineErr := j.lines(buffer[:filled], each)
		if lineErr != nil {
			return lineErr
		}
		j.read += int64(used)
		filled = copy(buffer, buffer[used:filled])
		switch {
		case errors.Is(err, io.EOF):
			return j.cutTail(repair && filled > 0)
		case err != nil:
			return fmt.Errorf("reading the journal: %w", err)
		case filled >= maxLineBytes:
			return fmt.Errorf("reading the journal at %d: a line of more than %d bytes", j.read, maxLineBytes)
		case filled == len(buffer):
			buffer = slices.Concat(buffer, make([]byte, len(buffer)))
		}
	}
}

func (j *journal) lines(text []byte, each func(*Effect) error) (used int, err error) {
	for {
		end := bytes.IndexByte(text[used:], '\n')
		if end < 0 {
			return used, nil
		}
		j.effect = Effect{}
		if err := j.scan.scan(text[used:used+end], &j.effect); err != nil {
			return used, fmt.Errorf("reading the journal at byte %d: %w", j.read+int64(used), err)
		}
		if err := each(&j.effect); err != nil {
			return used, fmt.Errorf("replaying the journal at byte %d: %w", j.read+int64(used), err)
		}
		used += end + 1
	}
}

func (j *journal) cutTail(torn bool) error {
	if !torn {
		return nil
	}
	if err := j.file.Truncate(j.read); err != nil {
		return fmt.Errorf("cutting off an unfinished line: %w", err)
	}
	return nil
}

// append writes one effect. The caller holds the exclusive lock and has caught up.
func (j *journal) append(e *Effect) error {
	line, err := e.appendLine(j.line[:0])
	if err != nil {
		return err
	}
	j.line = line
	if _, err := j.file.WriteAt(line, j.read); err != nil {
		// What was written of it has no end, so it did not happen, and must not come before what happens next.
		return errors.Join(fmt.Errorf("writing the journal: %w", err), j.cutTail(true))
	}
	j.read += int64(len(line))
	return nil
}
