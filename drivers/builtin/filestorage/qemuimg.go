package filestorage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// firstFile is the descriptor of the first file a qemu-img process is given, by exec.Cmd.ExtraFiles.
	firstFile = 3

	qemuImgAddressSpace = 4 << 30
	qemuImgOpenFiles    = 64
	qemuImgSays         = 4 << 10

	qcow2Options = "compat=1.1,cluster_size=65536,lazy_refcounts=off,preallocation="
)

// qemuImgPaths is where distributions put the program.
func qemuImgPaths() []string {
	return []string{"/usr/bin/qemu-img", "/usr/local/bin/qemu-img", "/bin/qemu-img"}
}

func findQemuImg() string {
	for _, path := range qemuImgPaths() {
		if unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return ""
}

// qemuImgCreate makes an empty qcow2 in a staged file.
func (s *fileStorage) qemuImgCreate(ctx context.Context, into *os.File, want shape) error {
	_, err := s.runQemuImg(ctx, []*os.File{into}, "create", "-q", "-f", formatQCOW2, "-o",
		qcow2Options+want.ahead.qemuImg(), given(0), strconv.FormatInt(want.size, 10))
	return err
}

// qemuImgConvert copies a disk into a staged file of another format.
func (s *fileStorage) qemuImgConvert(ctx context.Context, into *os.File, from *source, want shape) error {
	args := []string{"convert", "-p", "-f", from.format, "-O", want.format}
	if want.format == formatQCOW2 {
		args = append(args, "-o", qcow2Options+want.ahead.qemuImg())
	}
	_, err := s.runQemuImg(ctx, []*os.File{from.file, into}, append(args, given(0), given(1))...)
	return err
}

// qemuImgResize makes a qcow2 that nobody has open larger.
func (s *fileStorage) qemuImgResize(ctx context.Context, file *os.File, want shape) error {
	_, err := s.runQemuImg(ctx, []*os.File{file}, "resize", "-q", "-f", formatQCOW2,
		"--preallocation="+want.ahead.qemuImg(), given(0), strconv.FormatInt(want.size, 10))
	return err
}

// qemuImgMeasure tells how much space a converted copy takes. It is asked for qcow2 whatever is made, since for raw it
// tells the size of the disk, holes included.
func (s *fileStorage) qemuImgMeasure(ctx context.Context, from *source) (int64, error) {
	out, err := s.runQemuImg(ctx, []*os.File{from.file}, "measure", "--output=json", "-f", from.format, "-O",
		formatQCOW2, given(0))
	if err != nil {
		return 0, err
	}
	var measured struct {
		Required int64 `json:"required"`
	}
	if err := json.Unmarshal(out, &measured); err != nil {
		return 0, sdk.Internal("qemu-img-failed", fmt.Errorf("reading what qemu-img measured: %w", err))
	}
	return measured.Required, nil
}

// given names a file that the process is given as a descriptor: the very file that was inspected, whatever has its
// name by now.
func given(i int) string {
	return "/proc/self/fd/" + strconv.Itoa(firstFile+i)
}

// runQemuImg runs qemu-img on files of ours, in formats that are named, and returns what it printed. The process has
// the driver's confinement and less: no environment, no input, few descriptors, bounded memory. It ends with ctx and
// with the driver.
func (s *fileStorage) runQemuImg(ctx context.Context, files []*os.File, args ...string) ([]byte, error) {
	if s.qemuImg == "" {
		return nil, sdk.FromFault(qemuImgMissing())
	}
	out, said := &printed{ctx: ctx}, &tail{}
	command := exec.CommandContext(ctx, s.qemuImg, args...)
	command.Env = []string{"LC_ALL=C"}
	command.Dir = "/"
	command.ExtraFiles = files
	command.Stdout, command.Stderr = out, said
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	err := runConfined(command)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("running qemu-img %s: %w", args[0], ctx.Err())
	case err != nil:
		return nil, qemuImgFault(args[0], said.String(), err)
	}
	return out.rest.Bytes(), nil
}

// runConfined runs a command on a thread of its own: the kernel ends the child when the thread that started it ends,
// and Go ends idle threads.
func runConfined(command *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := command.Start(); err != nil {
			ended <- err
			return
		}
		limit := func(resource int, most uint64) error {
			return unix.Prlimit(command.Process.Pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil)
		}
		// A process that is gone already needs no limits.
		_ = limit(unix.RLIMIT_AS, qemuImgAddressSpace)
		_ = limit(unix.RLIMIT_NOFILE, qemuImgOpenFiles)
		_ = limit(unix.RLIMIT_CORE, 0)
		ended <- command.Wait()
	}()
	return <-ended
}

// qemuImgFault makes a fault of what a failed qemu-img said.
func qemuImgFault(action, said string, err error) error {
	said = strings.TrimSpace(said)
	switch {
	case strings.Contains(said, "No space left on device"), strings.Contains(said, "Disk quota exceeded"):
		return diskdir.NoSpaceFault("qemu-img " + action + ": the file system is full")
	case strings.Contains(said, "Failed to get"):
		return sdk.Conflict("volume-in-use", "a running process has the disk open", "stop the machine that has it")
	case strings.Contains(said, "Input/output error"):
		return sdk.Transient(diskdir.CodeInputOutput, "qemu-img "+action+": the file system fails")
	case strings.Contains(said, "File too large"), strings.Contains(said, "Image size must be less than"),
		strings.Contains(said, "is too large"), strings.Contains(said, "too big"):
		return sdk.Invalid("size-too-large", "/sizeBytes", "the disk is larger than its format or the file "+
			"system allows", "choose a smaller size")
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return sdk.FromFault(qemuImgMissing())
	}
	return sdk.Internal("qemu-img-failed", fmt.Errorf("running qemu-img %s: %w: %s", action, err, said))
}

// printed takes what qemu-img prints: progress like "    (12.50/100%)\r" is passed on, the rest is kept.
type printed struct {
	ctx  context.Context //nolint:containedctx // an io.Writer has no other place for it, and lives as long as the call
	rest bytes.Buffer
	line []byte
}

// Write implements io.Writer.
func (p *printed) Write(b []byte) (int, error) {
	for _, c := range b {
		if c != '\r' && len(p.line) < qemuImgSays {
			p.line = append(p.line, c)
		}
		if c != '\r' && c != '\n' {
			continue
		}
		if percent, ok := progressOf(string(p.line)); ok {
			sdk.Progress(p.ctx, int(percent*0.98), "converting")
		} else if p.rest.Len()+len(p.line) <= qemuImgSays {
			p.rest.Write(p.line)
		}
		p.line = p.line[:0]
	}
	return len(b), nil
}

func progressOf(line string) (float64, bool) {
	inside, ok := strings.CutPrefix(strings.TrimSpace(line), "(")
	if !ok {
		return 0, false
	}
	number, ok := strings.CutSuffix(inside, "/100%)")
	if !ok {
		return 0, false
	}
	percent, err := strconv.ParseFloat(number, 64)
	return percent, err == nil
}

// tail keeps the first bytes of what a process says.
type tail struct{ bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	if left := qemuImgSays - t.Len(); left > 0 {
		t.Buffer.Write(b[:min(left, len(b))])
	}
	return len(b), nil
}
