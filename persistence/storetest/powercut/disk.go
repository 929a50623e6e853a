package powercut

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Disk is a file system that was mounted to be cut off, or to be slow.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	files  string // what the disk is made of
	flush  time.Duration
	server *exec.Cmd // nil while there is no power

	commands io.WriteCloser
	lines    *bufio.Scanner
}

// New makes a file system of so many bytes and mounts it until the test ends. TestMain must call Main first.
func New(tb testing.TB, size int64) *Disk {
	tb.Helper()
	d, err := Mount(tb.TempDir(), size, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Errorf("unmounting: %v", err)
		}
	})
	return d
}

// Mount makes a file system of so many bytes, whose disk takes so long to flush what was written, and mounts it at a
// directory until Close. The program must call Main first.
func Mount(dir string, size int64, flush time.Duration) (*Disk, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("mounting a file system: run this as root")
	}
	files, err := os.MkdirTemp("", "powercut-")
	if err != nil {
		return nil, err
	}
	d := &Disk{Dir: dir, files: files, flush: flush}
	if err := d.format(size); err != nil {
		return nil, errors.Join(err, os.RemoveAll(files))
	}
	if err := d.start(); err != nil {
		return nil, fmt.Errorf("mounting: %w", errors.Join(err, os.RemoveAll(files)))
	}
	return d, nil
}

// Close unmounts the file system and removes the disk.
func (d *Disk) Close() error { return errors.Join(d.stop(), os.RemoveAll(d.files)) }

func (d *Disk) image() string { return filepath.Join(d.files, "image") }

// at is where the image is served as a disk.
func (d *Disk) at() string { return filepath.Join(d.files, "disk") }

func (d *Disk) format(size int64) error {
	for _, path := range []string{d.image(), d.at()} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
	}
	if err := os.Truncate(d.image(), size); err != nil {
		return err
	}
	// From e2fsprogs. What would be initialised later, in the background, is initialised now.
	return run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image())
}

// Restore brings the power back and mounts what is left.
func (d *Disk) Restore(tb testing.TB) {
	tb.Helper()
	if err := d.start(); err != nil {
		tb.Fatalf("mounting: %v", err)
	}
}

func (d *Disk) start() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	d.server = exec.Command(exe)
	args := []string{d.image(), d.at(), d.Dir, d.flush.String()}
	d.server.Env = append(os.Environ(), serverEnv+"="+strings.Join(args, "\n"))
	d.server.Stderr = os.Stderr
	out, err := d.server.StdoutPipe()
	if err != nil {
		return err
	}
	if d.commands, err = d.server.StdinPipe(); err != nil {
		return err
	}
	if err := d.server.Start(); err != nil {
		return err
	}
	d.lines = bufio.NewScanner(out)
	return d.expect("mounted")
}

func (d *Disk) expect(line string) error {
	if d.lines.Scan() && d.lines.Text() == line {
		return nil
	}
	return errors.Join(fmt.Errorf("the disk said %q instead of %q", d.lines.Text(), line), d.stop())
}

// Cut takes the power away, then calls kill, which must end all processes that use the disk: until then they wait for
// it. The file system is unmounted when Cut returns.
func (d *Disk) Cut(kill func()) error {
	if _, err := fmt.Fprintln(d.commands, "cut"); err != nil {
		return fmt.Errorf("cutting the power: %w", err)
	}
	if err := d.expect("dark"); err != nil {
		return fmt.Errorf("cutting the power: %w", err)
	}
	kill()
	return d.stop()
}

// stop ends the server, which unmounts.
func (d *Disk) stop() error {
	if d.server == nil {
		return nil
	}
	err := d.commands.Close()
	for d.lines.Scan() { // to the end
		continue
	}
	err = errors.Join(err, d.server.Wait())
	d.server = nil
	return err
}
