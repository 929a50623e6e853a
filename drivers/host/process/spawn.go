package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// Start says what to start. The process begins as the stage, which waits until Commit has returned.
type Start struct {
	// Stage is the program to execute as the stage; "/proc/self/exe" is this one.
	Stage string
	// Detached makes the process a child of neither this process nor anyone living, in a session of its own.
	Detached bool
	// Namespaces are clone flags for the process; not for detached ones.
	Namespaces uintptr
	// Listener becomes file descriptor 3; nil gives it /dev/null.
	Listener *os.File
	// Output becomes stdout and stderr.
	Output *os.File
	// Spec for the stage.
	Spec sandbox.Spec
	// Commit makes the identity of the process durable, and puts it where it belongs, before it may become the
	// program. When it fails, or when this process dies in it, the stage exits and nothing was started.
	Commit func(Identity) error
}

// Refused is the stage's reason not to become the program.
type Refused struct{ Reason string }

// Error implements error.
func (r *Refused) Error() string { return r.Reason }

// Run starts a process and returns once it has become the program. It wraps *Refused when the stage gave up.
func (s Start) Run(ctx context.Context) (*Process, sandbox.Report, error) {
	pipes, err := newPipes()
	if err != nil {
		return nil, sandbox.Report{}, err
	}
	defer pipes.close()
	process, err := s.begin(pipes)
	if err != nil {
		return nil, sandbox.Report{}, err
	}
	report, err := s.release(ctx, process, pipes)
	if err != nil {
		pipes.close() // without a spec the stage exits by itself
		return nil, report, errors.Join(err, end(process))
	}
	return process, report, nil
}

// end makes sure that a process that must not live does not.
func end(process *Process) error {
	err := process.Signal(syscall.SIGKILL)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = errors.Join(err, process.Wait(ctx))
	process.Close()
	return err
}

// pipes connect the host with the stage.
type pipes struct {
	specRead, specWrite     *os.File
	statusRead, statusWrite *os.File
	status                  *json.Decoder
}

func newPipes() (*pipes, error) {
	var p pipes
	var err, second error
	p.specRead, p.specWrite, err = os.Pipe()
	p.statusRead, p.statusWrite, second = os.Pipe()
	if err = errors.Join(err, second); err != nil {
		p.close()
		return nil, fmt.Errorf("making the stage's pipes: %w", err)
	}
	p.status = json.NewDecoder(bufio.NewReader(p.statusRead))
	return &p, nil
}

func (p *pipes) close() {
	for _, file := range []*os.File{p.specRead, p.specWrite, p.statusRead, p.statusWrite} {
		_ = file.Close() // closed twice is fine
	}
}

// begin executes the stage and follows it.
func (s Start) begin(pipes *pipes) (*Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("starting the stage: %w", err)
	}
	defer func() { _ = null.Close() }()
	listener := s.Listener
	if listener == nil {
		listener = null
	}
	mode := sandbox.ModeEnter
	if s.Detached {
		mode = sandbox.ModeDetach
	}
	cmd := &exec.Cmd{
		Path: s.Stage, Args: []string{sandbox.StageName, mode}, Env: []string{},
		Stdin: null, Stdout: s.Output, Stderr: s.Output,
		ExtraFiles:  []*os.File{listener, pipes.specRead, pipes.statusWrite},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Cloneflags: s.Namespaces},
	}
	if s.Detached {
		cmd.SysProcAttr.Cloneflags = 0
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the stage %s: %w", s.Stage, err)
	}
	_, _ = pipes.specRead.Close(), pipes.statusWrite.Close()
	if s.Detached {
		return followDetached(cmd, pipes)
	}
	return followChild(cmd)
}

// followChild is safe from pid reuse, since a child's pid stays taken until it is waited for.
func followChild(cmd *exec.Cmd) (*Process, error) {
	pidfd, err := openPidfd(cmd.Process.Pid)
	if err == nil {
		var identity Identity
		identity, err = Identify(cmd.Process.Pid)
		if err == nil {
			return follow(identity, pidfd, cmd), nil
		}
		err = errors.Join(err, pidfd.Close())
	}
	return nil, errors.Join(fmt.Errorf("following the stage: %w", err), cmd.Process.Kill(), cmd.Wait())
}

// followDetached learns the pid of the detached stage. It lives, waiting for the spec, as long as we hold the pipe,
// so that its pid can't be reused either.
func followDetached(cmd *exec.Cmd, pipes *pipes) (*Process, error) {
	var status sandbox.Status
	decodeErr := pipes.status.Decode(&status)
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("detaching: %s: %w", status.Error, err)
	}
	if decodeErr != nil {
		return nil, fmt.Errorf("detaching: %w", decodeErr)
	}
	pidfd, err := openPidfd(status.PID)
	if err != nil {
		return nil, fmt.Errorf("detaching: %w", err)
	}
	identity, err := Identify(status.PID)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("detaching: %w", err), pidfd.Close())
	}
	return follow(identity, pidfd, nil), nil
}

// release commits, sends the spec, and waits until the stage has become the program.
func (s Start) release(ctx context.Context, process *Process, pipes *pipes) (sandbox.Report, error) {
	if s.Commit != nil {
		if err := s.Commit(process.Identity()); err != nil {
			return sandbox.Report{}, err
		}
	}
	stop := context.AfterFunc(ctx, func() { // a closed pipe makes the calls below fail
		past := time.Unix(1, 0)
		_, _ = pipes.specWrite.SetWriteDeadline(past), pipes.statusRead.SetReadDeadline(past)
	})
	defer stop()
	err := json.NewEncoder(pipes.specWrite).Encode(s.Spec)
	_ = pipes.specWrite.Close()
	report, outcome := readOutcome(pipes.status)
	if refused, ok := errors.AsType[*Refused](outcome); ok {
		return report, refused // more telling than a broken pipe
	}
	if err = errors.Join(err, outcome); err != nil {
		return report, errors.Join(fmt.Errorf("starting %s: %w", s.Spec.Argv, err), context.Cause(ctx))
	}
	return report, nil
}

// readOutcome reads the status pipe to its end, which comes when the program is executed.
func readOutcome(statuses *json.Decoder) (sandbox.Report, error) {
	var report sandbox.Report
	reported := false
	for {
		var status sandbox.Status
		err := statuses.Decode(&status)
		switch {
		case errors.Is(err, io.EOF) && reported:
			return report, nil
		case errors.Is(err, io.EOF):
			return report, errors.New("the stage ended without a word")
		case err != nil:
			return report, fmt.Errorf("reading the stage's status: %w", err)
		case status.Error != "":
			return report, &Refused{Reason: status.Error}
		case status.Report != nil:
			report, reported = *status.Report, true
		}
	}
}
