package qemuhypervisor_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func (l *lab) openConsole(id, kind string) (*driverpb.ConsoleReply, error) {
	l.t.Helper()
	return l.client().OpenConsole(l.ctx(), &driverpb.ConsoleRequest{
		Call: l.call("machine", id), Host: l.hostRef(), Type: kind,
	})
}

// TestConsoles: the serial console is a conversation, VNC speaks RFB, and what was printed can be read later.
func TestConsoles(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	_, err := l.openConsole("m1", "serial")
	refused(t, err, driverpb.Class_CLASS_NOT_FOUND, "machine-not-running")
	l.startMachine("m1", l.smallMachine("m1"))
	vnc, err := l.openConsole("m1", "vnc")
	if err != nil || vnc.GetProtocol() != "rfb" {
		t.Fatalf("vnc: %v, %v", vnc, err)
	}
	picture, err := net.Dial("unix", vnc.GetSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	if hello, err := bufio.NewReader(picture).ReadString('\n'); err != nil || !strings.HasPrefix(hello, "RFB 003.") {
		t.Errorf("vnc greets with %q, %v", hello, err)
	}
	serial, err := l.openConsole("m1", "serial")
	if err != nil || serial.GetProtocol() != "stream" {
		t.Fatalf("serial: %v, %v", serial, err)
	}
	l.console("m1").awaits("guest# ", 1)
	line, err := net.Dial("unix", serial.GetSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	_ = line.SetDeadline(time.Now().Add(patient))
	if _, err := io.WriteString(line, "echo $((6*7)) is the answer\n"); err != nil {
		t.Fatal(err)
	}
	for words := bufio.NewScanner(line); ; {
		if !words.Scan() {
			t.Fatalf("the console ended without an answer: %v", words.Err())
		}
		if strings.Contains(words.Text(), "42 is the answer") {
			break
		}
	}
	_, err = l.openConsole("m1", "semaphore")
	refused(t, err, driverpb.Class_CLASS_UNSUPPORTED, "console-unknown")
}

// TestConsoleLogIsBounded: a guest can print what it wants, the log keeps the newest part, on file systems that can cut
// in place and on those that can't.
func TestConsoleLogIsBounded(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]struct{ parent, newest string }{
		"ext4": {"", "chatter number 9999\r"}, "tmpfs": {"/dev/shm", "chatter number 999"}, // may lose some in the instant
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLabIn(t, place.parent, accelerator(t))
			const limit = 64 << 10
			if _, err := driverpb.NewBaseClient(l.served).Configure(l.ctx(), &driverpb.ConfigureRequest{
				Properties: l.structOf(map[string]any{"console_log_bytes": limit}),
			}); err != nil {
				t.Fatal(err)
			}
			l.openHost()
			l.startMachine("m1", l.smallMachine("m1"))
			c := l.console("m1")
			c.awaits("guest# ", 1)
			c.types("i=0; while [ $i -lt 9999 ]; do i=$((i+1)); echo chatter number $i; done; " +
				"echo chatter en''ded; sleep 6; echo chatter en''ded")
			c.awaits("chatter number 1", 1) // it has read what was typed
			c.hangsUp()
			until(t, "the log was cut", patient, func() bool {
				return !strings.Contains(c.text(), "SYSLINUX") && !strings.Contains(c.text(), "chatter number 1\r")
			})
			c.awaits("chatter ended", 1)
			until(t, "the log is within its bound", patient, func() bool {
				info, err := os.Stat(c.log)
				return err == nil && info.Size() <= limit
			})
			if text := c.text(); !strings.Contains(text, place.newest) {
				t.Errorf("the newest words are gone; the log ends with %q", text[max(len(text)-200, 0):])
			}
			if strings.ContainsRune(c.text(), 0) {
				t.Error("there are holes in the log")
			}
			l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
		})
	}
}

// TestFilesAreClosedToOthers: what is in a machine's directory is for the driver and the guest's user only.
func TestFilesAreClosedToOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	spec := blankMachine()
	spec.CloudInit = &driverpb.CloudInit{UserData: "#cloud-config\npassword: secret\n"}
	l.startMachine("m1", spec)
	seen := 0
	err := filepath.Walk(filepath.Join(l.work(), "m"), func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		seen++
		if info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s is open to others: %s", path, info.Mode())
		}
		return nil
	})
	if err != nil || seen < 8 {
		t.Errorf("saw %d files, %v", seen, err)
	}
}
