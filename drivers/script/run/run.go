package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Limits of one execution.
const (
	// MaxOutput is how much a program may write to stdout; one that writes more is ended.
	MaxOutput = 1 << 20
	// MaxWords is how much of stderr is passed on; what follows is dropped and counted.
	MaxWords = 64 << 10
)

const (
	// grace is what a program gets after SIGTERM.
	grace = time.Second
	// lastOutput is what pipes get to run dry once all who could write to them are gone.
	lastOutput = 2 * time.Second
)

// Command is what to execute.
type Command struct {
	// Path is the program; Args are its arguments, without its name.
	Path string
	Args []string
	// Env is the whole environment; Dir the working directory.
	Env []string
	Dir string
	// Stdin is given to it; it need not read it.
	Stdin []byte
	// Line is called with each line of stderr, one at a time; nil drops them.
	Line func(line string)
}

// Outcome is how a program ended.
type Outcome struct {
	Stdout []byte
	// Exit is the exit code; -1 when Signal ended it.
	Exit   int
	Signal syscall.Signal
	// TooMuch says that it was ended because it wrote more than MaxOutput.
	TooMuch bool
	// Stopped says that it was ended because the context was.
	Stopped bool
	// Left is how many processes it left behind; they are ended.
	Left int
	// Dropped is how many bytes of stderr were not passed on.
	Dropped int
}

// StartError says that a program could not be started.
type StartError struct {
	Path string
	Err  error
}

// Error implements error.
func (e *StartError) Error() string { return "starting " + e.Path + ": " + e.Err.Error() }

// Unwrap returns what the system said.
func (e *StartError) Unwrap() error { return e.Err }

// Run executes a program and waits for its end. When ctx ends first the program gets SIGTERM, then SIGKILL. What it
// left behind is gone when Run returns. An error means that it did not run, or that how it ended is not known.
func (f *Family) Run(ctx context.Context, c Command) (Outcome, error) {
	// The kernel ends the program with the thread that started it, which must therefore live as long: it waits.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pipes, err := openPipes()
	if err != nil {
		return Outcome{}, err
	}
	defer pipes.close()
	process, err := f.start(c, pipes)
	if err != nil {
		return Outcome{}, &StartError{Path: c.Path, Err: err}
	}
	flow := pipes.begin(c)
	ended, watched := make(chan struct{}), make(chan bool, 1)
	go func() { watched <- watch(ctx, process.Pid, ended, flow.overflow) }() // ends with ended
	state, err := process.Wait()
	close(ended)
	outcome := Outcome{Stopped: <-watched, Left: f.end(process.Pid)}
	flow.finish(&outcome)
	if err != nil {
		return outcome, fmt.Errorf("waiting for %s: %w", c.Path, err)
	}
	outcome.Exit = state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		outcome.Signal = status.Signal()
	}
	return outcome, nil
}

// watch ends a program when it must end, and tells whether that was because the context did.
func watch(ctx context.Context, pid int, ended, overflow <-chan struct{}) (stopped bool) {
	done := ctx.Done()
	var last <-chan time.Time
	for {
		select {
		case <-ended:
			return stopped
		case <-done:
			stopped, done = true, nil
			_ = syscall.Kill(-pid, syscall.SIGTERM) // it may be gone
			timer := time.NewTimer(grace)
			defer timer.Stop()
			last = timer.C
		case <-overflow:
			overflow = nil
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		case <-last:
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
}

// start starts the program as the leader of a session. No other is started or swept meanwhile.
func (f *Family) start(c Command, p *pipes) (*os.Process, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	process, err := os.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &os.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: []*os.File{p.stdin.r, p.stdout.w, p.stderr.w},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, bare(err)
	}
	f.leaders[process.Pid] = true
	return process, nil
}

// bare takes what the system said out of words that name the program again.
func bare(err error) error {
	if wrapped, ok := errors.AsType[*os.PathError](err); ok {
		return wrapped.Err
	}
	return err
}

type pipe struct{ r, w *os.File }

type pipes struct{ stdin, stdout, stderr pipe }

func openPipes() (*pipes, error) {
	p := &pipes{}
	for _, one := range []*pipe{&p.stdin, &p.stdout, &p.stderr} {
		var err error
		if one.r, one.w, err = os.Pipe(); err != nil {
			p.close()
			return nil, fmt.Errorf("making pipes: %w", err)
		}
	}
	return p, nil
}

// close closes what is still open.
func (p *pipes) close() {
	for _, one := range []pipe{p.stdin, p.stdout, p.stderr} {
		_ = one.r.Close()
		_ = one.w.Close()
	}
}

// flow is what goes in and out while the program runs.
type flow struct {
	pipes    *pipes
	overflow chan struct{}
	output   chan []byte
	words    chan int
	input    chan struct{}
}

// begin closes the program's ends and starts to copy.
func (p *pipes) begin(c Command) *flow {
	_, _, _ = p.stdin.r.Close(), p.stdout.w.Close(), p.stderr.w.Close()
	f := &flow{
		pipes: p, overflow: make(chan struct{}), output: make(chan []byte, 1), words: make(chan int, 1),
		input: make(chan struct{}),
	}
	go func() { // these end with the pipes
		defer close(f.input)
		_, _ = p.stdin.w.Write(c.Stdin) // it need not read
		_ = p.stdin.w.Close()
	}()
	go func() {
		var text bytes.Buffer
		_, _ = io.Copy(&text, io.LimitReader(p.stdout.r, MaxOutput+1))
		if text.Len() > MaxOutput {
			close(f.overflow)
			_, _ = io.Copy(io.Discard, p.stdout.r)
		}
		f.output <- text.Bytes()[:min(text.Len(), MaxOutput)]
	}()
	go func() { f.words <- say(p.stderr.r, c.Line) }()
	return f
}

// finish waits for what is still in the pipes, whose other ends are closed by now.
func (f *flow) finish(outcome *Outcome) {
	deadline := time.Now().Add(lastOutput)
	_ = f.pipes.stdout.r.SetReadDeadline(deadline)
	_ = f.pipes.stderr.r.SetReadDeadline(deadline)
	_ = f.pipes.stdin.w.SetWriteDeadline(deadline)
	outcome.Stdout = <-f.output
	outcome.Dropped = <-f.words
	<-f.input
	select {
	case <-f.overflow:
		outcome.TooMuch = true
	default:
	}
}
