package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// StageName is the name under which this program is executed as the stage.
const StageName = "bulkhead-stage"

// Modes of the stage, its only argument.
const (
	// ModeEnter confines itself and becomes the program.
	ModeEnter = "enter"
	// ModeDetach starts a stage in ModeEnter as a process of its own, which is no child of anyone living, says its
	// pid and exits.
	ModeDetach = "detach"
)

// File descriptors of the stage besides the standard three.
const (
	// ListenerFD stays open in the program: a driver's listener, or /dev/null.
	ListenerFD = 3
	// SpecFD is a pipe with the Spec as JSON. While it is open without one the stage waits; when it ends without one
	// the host is gone, and so is the stage. This is what makes a start safe: the host sends the spec after its
	// record of the process is durable.
	SpecFD = 4
	// StatusFD is a pipe for Status, as JSON, one per line.
	StatusFD = 5
)

const (
	exitRefused = 125
	exitNoExec  = 126
)

// RunStageIfAsked is the first thing that main does in a program that hosts drivers: when this process was executed
// as the stage it confines itself, becomes the program in question and does not return. Tests that start drivers
// call it first in TestMain.
func RunStageIfAsked() {
	if len(os.Args) < 2 || filepath.Base(os.Args[0]) != StageName {
		return
	}
	runtime.LockOSThread()
	_ = unix.CloseRange(SpecFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) // what the server itself was given goes no further
	unix.CloseOnExec(SpecFD)
	unix.CloseOnExec(StatusFD)
	status := os.NewFile(StatusFD, "status")
	var err error
	if os.Args[1] == ModeDetach {
		err = detach(status)
	} else {
		err = enter(status)
	}
	if err != nil {
		tell(status, Status{Error: err.Error()})
		os.Exit(exitRefused)
	}
	os.Exit(0)
}

func tell(status *os.File, what Status) {
	_ = json.NewEncoder(status).Encode(what) // who does not listen is gone; there is nobody else to tell
}

// detach starts the stage that becomes the program. It gets the same files; nothing waits for it.
func detach(status *os.File) error {
	cmd := exec.Cmd{
		Path: "/proc/self/exe", Args: []string{StageName, ModeEnter}, Env: []string{},
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: []*os.File{
			os.NewFile(ListenerFD, "listener"), os.NewFile(SpecFD, "spec"), status,
		},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("detaching: %w", err)
	}
	tell(status, Status{PID: cmd.Process.Pid})
	return nil
}

// enter waits for the spec, confines this thread and executes the program in it.
func enter(status *os.File) error {
	var spec Spec
	if err := json.NewDecoder(os.NewFile(SpecFD, "spec")).Decode(&spec); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("the host went away before the start")
		}
		return fmt.Errorf("reading the spec: %w", err)
	}
	program, err := openProgram(spec.Argv)
	if err != nil {
		return err
	}
	report := spec.Prior
	if err := confine(&spec, &report); err != nil {
		return err
	}
	report.Judge()
	if refusal := report.refusal(spec.Minimum, spec.Require); refusal != "" {
		tell(status, Status{Report: &report})
		return errors.New(refusal)
	}
	tell(status, Status{Report: &report})
	signal.Ignore(syscall.SIGXFSZ) // inherited: a write beyond RLIMIT_FSIZE fails and does not kill
	err = execute(program, &spec)
	tell(status, Status{Error: err.Error()})
	os.Exit(exitNoExec)
	return nil
}

// confine applies all mechanisms in the one order that works: what needs privileges first.
func confine(spec *Spec, report *Report) error {
	if err := enterNetwork(spec.NetNamespace); err != nil {
		return err
	}
	unix.Umask(spec.Umask)
	if err := enterDir(spec); err != nil {
		return fmt.Errorf("changing directory: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	report.Apply(MechanismNoNewPrivs)
	if err := restrictFiles(spec, report); err != nil {
		return err
	}
	if err := become(spec, report); err != nil {
		return err
	}
	limit(spec, report)
	return restrictCalls(spec, report)
}

func enterDir(spec *Spec) error {
	switch {
	case spec.Dir == "":
		return nil
	case !slices.Contains(spec.PinnedWrite, spec.Dir):
		return os.Chdir(spec.Dir)
	}
	fd, err := openPinned(spec.Dir)
	if err != nil {
		return &os.PathError{Op: "open", Path: spec.Dir, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Fchdir(fd)
}

// openProgram opens the program while that is still permitted: its directories may be closed to its user.
func openProgram(argv []string) (fd int, err error) {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return -1, fmt.Errorf("the program %q has no absolute path", argv)
	}
	fd, err = unix.Open(argv[0], unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening program %s: %w", argv[0], err)
	}
	return fd, nil
}

// execute replaces this process. It returns only on failure. The path comes first, since it gives the process its
// name; where the user can't reach the program by path, the file opened before serves.
func execute(program int, spec *Spec) error {
	err := syscall.Exec(spec.Argv[0], spec.Argv, spec.Env)
	if errors.Is(err, unix.EACCES) {
		err = syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", program), spec.Argv, spec.Env)
	}
	return fmt.Errorf("executing %s: %w", spec.Argv[0], err)
}
