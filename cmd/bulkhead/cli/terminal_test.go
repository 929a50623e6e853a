package cli_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// openTerminal makes a pseudo-terminal: what the program uses, and the side of
// the person before it.
func openTerminal(t *testing.T) (program, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("opening a pseudo-terminal (mount devpts on /dev/pts): %v", err)
	}
	t.Cleanup(func() { person.Close() })
	raw := int(person.Fd())
	if err := unix.IoctlSetPointerInt(raw, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlocking the pseudo-terminal: %v", err)
	}
	n, err := unix.IoctlGetInt(raw, unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("naming the pseudo-terminal: %v", err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program, person
}

// screen collects what the person sees.
func screen(person *os.File) *output {
	o := &output{}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := person.Read(buffer)
			if err != nil {
				return
			}
			_, _ = o.Write(buffer[:n])
		}
	}()
	return o
}

// sit runs a command at a terminal.
func (s *site) sit(args ...string) (*background, *os.File) {
	s.t.Helper()
	program, person := openTerminal(s.t)
	seen := screen(person)
	ctx, cancel := context.WithCancel(s.t.Context())
	b := &background{s.t, seen, seen, make(chan int, 1), cancel}
	go func() {
		root := cli.New("test")
		root.SetArgs(args)
		root.SetIn(program)
		root.SetOut(program)
		root.SetErr(program)
		b.code <- cli.RunContext(ctx, root)
	}()
	s.t.Cleanup(cancel)
	return b, person
}

func TestProgressAtATerminalIsDrawnAnew(t *testing.T) {
	s := newSite(t, true)
	t.Setenv("NO_COLOR", "")
	b, _ := s.sit("volume", "create", "data", "--size", "1GiB")
	b.until(b.out, "waiting\x1b[0m    create")
	id := s.running()
	s.zone.Progress(id, 50, "copying blocks")
	b.until(b.out, "50 %")
	b.until(b.out, "copying blocks")
	b.until(b.out, "\x1b[3A") // over what was there before
	s.zone.Finish(id)
	if code := <-b.code; code != 0 {
		t.Errorf("exit %d", code)
	}
	b.until(b.out, "volume data: created")
	if !strings.Contains(b.out.String(), "\x1b[32mdone\x1b[0m") {
		t.Errorf("no colour:\n%q", b.out)
	}
}

// What is longer than the terminal is wide takes more rows, all of which are drawn
// over.
func TestLongNewsAtATerminalIsDrawnOver(t *testing.T) {
	s := newSite(t, true)
	t.Setenv("NO_COLOR", "")
	pool := s.zone.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "p3"}})
	ahead := s.stuck(resources.Ref{Kind: resources.KindPool, ID: pool}, "p3")
	b, person := s.sit("pool", "delete", "p3")
	size := &unix.Winsize{Row: 24, Col: 50}
	if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, size); err != nil {
		t.Fatal(err)
	}
	b.until(b.out, "waits behind "+ahead)
	b.until(b.out, "\x1b[6A") // the operation, its two steps, and three rows of news
	s.zone.Finish(s.running())
	if code := <-b.code; code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestNoColorIsHonoured(t *testing.T) {
	s := newSite(t, false)
	s.furnish()
	t.Setenv("NO_COLOR", "1")
	b, _ := s.sit("machine", "list")
	if code := <-b.code; code != 0 {
		t.Errorf("exit %d", code)
	}
	b.until(b.out, "running")
	if strings.Contains(b.out.String(), "\x1b") {
		t.Errorf("coloured:\n%q", b.out)
	}
}

func TestAConsoleAtATerminalIsRaw(t *testing.T) {
	s := newSite(t, false)
	s.furnish()
	b, person := s.sit("machine", "console", "db")
	b.until(b.out, "Ctrl-] leaves")
	b.until(b.out, "serial console")
	if _, err := person.Write([]byte{'l', 's', 0x03}); err != nil { // Ctrl-C goes to the guest
		t.Fatal(err)
	}
	b.until(b.out, "> ls\x03")
	if _, err := person.Write([]byte{0x1d}); err != nil {
		t.Fatal(err)
	}
	if code := <-b.code; code != 0 {
		t.Errorf("exit %d", code)
	}
}
