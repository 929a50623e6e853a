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
)

// Disk is a file system that was mounted for a test.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	image, at string
	server    *exec.Cmd // nil while there is no power
	commands  io.WriteCloser
	lines     *bufio.Scanner
}

// New makes a file system of so many bytes and mounts it until the test ends. TestMain must call Main first.
func New(tb testing.TB, size int64) *Disk {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Fatal("this test mounts file systems: run it as root")
	}
	files := tb.TempDir()
	d := &Disk{Dir: tb.TempDir(), image: filepath.Join(files, "image"), at: filepath.Join(files, "disk")}
	for _, path := range []string{d.image, d.at} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.Truncate(d.image, size); err != nil {
		tb.Fatal(err)
	}
	// From e2fsprogs. What would be initialised later, in the background, is initialised now.
	if err := run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image); err != nil {
		tb.Fatal(err)
	}
	d.Restore(tb)
	tb.Cleanup(func() {
		if err := d.stop(); err != nil {
			tb.Errorf("unmounting: %v", err)
		}
	})
	return d
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
	d.server.Env = append(os.Environ(), serverEnv+"="+strings.Join([]string{d.image, d.at, d.Dir}, "\n"))
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
