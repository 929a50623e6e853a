package ipmipower

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/outofband"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// registry is what ipmitool reads vendors' names from.
	registry = "/usr/share/misc/enterprise-numbers.txt"

	// passwordFile is the first descriptor the program is given, by exec.Cmd.ExtraFiles.
	passwordFile = "/proc/self/fd/3"

	addressSpace = 1 << 30
	openFiles    = 64
	// most bounds what is kept of what the program says.
	most = 64 << 10
	// respite is what ipmitool gets beyond its own patience.
	respite = 5 * time.Second
)

// ipmitool is the program.
type ipmitool struct{ program string }

// ready says what to install when the program is not there.
func (t ipmitool) ready() error {
	if t.program != "" {
		return nil
	}
	return sdk.Denied("ipmitool-missing", "ipmitool is not installed on this host, or may not be run",
		"install the package ipmitool")
}

// said is what a run of the program said.
type said struct {
	out, words string
	// failed is why it did not succeed; nil if it did.
	failed error
}

// session is how a controller is reached.
type session struct {
	settings  outofband.Settings
	privilege string
	cipher    int
}

// arguments are those before the command. The password is in none of them.
func (s session) arguments() []string {
	args := []string{
		"-I", "lanplus", "-H", s.settings.Address, "-p", strconv.Itoa(int(s.settings.Port)), "-U", s.settings.User,
		"-f", passwordFile, "-L", s.privilege,
		"-v", // or it does not tell a wrong password from a controller that is not there
		"-N", "1", "-R", strconv.Itoa(tries(s.settings.Request)),
	}
	if s.cipher > 0 {
		args = append(args, "-C", strconv.Itoa(s.cipher))
	}
	return args
}

// tries is how often ipmitool asks within a time: it waits one second for the first answer, two for the second, and so
// on.
func tries(patience time.Duration) int {
	n, waits := 1, 3
	for time.Duration(waits)*time.Second <= patience {
		n++
		waits += n + 1
	}
	return n
}

// run runs the program once. The process has the driver's confinement and less: no environment, no input, few
// descriptors, bounded memory. It ends with ctx and with the driver. An error of run itself is not the controller's.
func (t ipmitool) run(ctx context.Context, s session, command ...string) (said, error) {
	// The program asks a controller that is not there in two ways.
	ctx, cancel := context.WithTimeout(ctx, 2*s.settings.Request+respite)
	defer cancel()
	password, err := passwordPipe(s.settings.Password)
	if err != nil {
		return said{}, sdk.Internal("pipe", err)
	}
	defer password.Close()
	out, words := &clipped{}, &clipped{}
	child := exec.CommandContext(ctx, t.program, append(s.arguments(), command...)...)
	child.Env = []string{"LC_ALL=C"}
	child.Dir = "/"
	child.ExtraFiles = []*os.File{password}
	child.Stdout, child.Stderr = out, words
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	child.Cancel = func() error { return syscall.Kill(-child.Process.Pid, syscall.SIGKILL) }
	err = runConfined(child)
	result := said{out: out.String(), words: words.String(), failed: err}
	switch {
	case err == nil:
		return result, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return said{}, fmt.Errorf("running ipmitool %s: %w", command[0], ctx.Err())
	case errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return said{}, ipmitool{}.ready()
	}
	if _, ended := errors.AsType[*exec.ExitError](err); !ended {
		return said{}, sdk.Internal("ipmitool-failed", fmt.Errorf("running ipmitool %s: %w", command[0], err))
	}
	return result, nil
}

// passwordPipe is a pipe from which the password can be read once.
func passwordPipe(password string) (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for the password: %w", err)
	}
	_, err = writer.WriteString(password + "\n") // shorter than any pipe
	if err = errors.Join(err, writer.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("handing over the password: %w", err), reader.Close())
	}
	return reader, nil
}

// runConfined runs a command on a thread of its own: the kernel ends the child when the thread that started it ends,
// and Go ends idle threads.
func runConfined(child *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() { // ends with the child
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := child.Start(); err != nil {
			ended <- err
			return
		}
		limit := func(resource int, most uint64) {
			// A process that is gone already needs no limits.
			_ = unix.Prlimit(child.Process.Pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil)
		}
		limit(unix.RLIMIT_AS, addressSpace)
		limit(unix.RLIMIT_NOFILE, openFiles)
		limit(unix.RLIMIT_CORE, 0)
		ended <- child.Wait()
	}()
	return <-ended
}

// clipped keeps the first of what a process says.
type clipped struct{ bytes.Buffer }

// Write implements io.Writer.
func (c *clipped) Write(b []byte) (int, error) {
	if left := most - c.Len(); left > 0 {
		c.Buffer.Write(b[:min(left, len(b))])
	}
	return len(b), nil
}
