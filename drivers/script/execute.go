package script

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/script/run"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// within bounds a call: by what its caller waits, or by what driver.yaml says.
func (p *program) within(ctx context.Context) (inner context.Context, until time.Time, cancel context.CancelFunc) {
	until, known := sdk.Deadline(ctx)
	if known {
		inner, cancel = context.WithCancel(ctx) // it ends when nobody waits any more
		return inner, until, cancel
	}
	until = time.Now().Add(p.timeout)
	inner, cancel = context.WithDeadline(ctx, until)
	return inner, until, cancel
}

// ended is how an execution ended, and what it said last on stderr.
type ended struct {
	run.Outcome
	last string
}

// progress is a line of stderr that says how far the call has come.
var progress = regexp.MustCompile(`^progress: ([0-9]{1,3})%?(?: (.*))?$`)

// ready tells whether the program can be executed, as far as can be seen without doing it.
func (p *program) ready() *driverpb.ProbeReply {
	for _, path := range []string{p.command[0], p.file} {
		right := uint32(unix.R_OK)
		if path == p.command[0] {
			right = unix.X_OK
		}
		if err := unix.Access(path, right); err != nil {
			return &driverpb.ProbeReply{
				Health: driverpb.ProbeReply_HEALTH_UNREADY,
				Reason: path + " can't be executed: " + err.Error() + "; install it on this host, or correct entry in driver.yaml",
			}
		}
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}
}

// input is what a program is given of a call.
type input struct {
	stdin []byte
	// payload is written to a file that only the program's user can read; after the action come the file's path and
	// rest.
	payload []byte
	rest    []string
}

// arguments are the program's; the payload is written to dir for them.
func (i *input) arguments(action, dir string) ([]string, error) {
	if i.payload == nil {
		return []string{action}, nil
	}
	path := filepath.Join(dir, "payload.json")
	if err := os.WriteFile(path, i.payload, 0o600); err != nil {
		return nil, sdk.Internal("call-dir", err)
	}
	return append([]string{action, path}, i.rest...), nil
}

// execute runs the program once, with a directory of its own that is gone afterwards.
func (p *program) execute(
	ctx context.Context, action string, in input, secrets map[string]string,
) (ended, error) {
	dir, err := os.MkdirTemp(p.calls, action+"-")
	if err != nil {
		return ended{}, sdk.Internal("call-dir", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			p.log.WarnContext(ctx, "directory of a call is left", slog.String("error", err.Error()))
		}
	}()
	arguments, err := in.arguments(action, dir)
	if err != nil {
		return ended{}, err
	}
	var made ended
	log := p.log.With(slog.String("action", action))
	made.Outcome, err = p.family.Run(ctx, run.Command{
		Path: p.command[0], Args: slices.Concat(p.command[1:], arguments),
		Env: slices.Concat(p.env, []string{"HOME=" + dir, "TMPDIR=" + dir}), Dir: dir, Stdin: in.stdin,
		Line: func(line string) {
			line = sdk.Redact(line, secrets)
			if said := progress.FindStringSubmatch(line); said != nil {
				percent, _ := strconv.Atoi(said[1]) // digits
				sdk.Progress(ctx, percent, said[2])
				return
			}
			made.last = line
			log.InfoContext(ctx, "script says", slog.String("line", line))
		},
	})
	if err != nil {
		return ended{}, startFault(err)
	}
	if made.Left > 0 {
		log.WarnContext(ctx, "script left processes behind, which were ended", slog.Int("processes", made.Left))
	}
	if made.Dropped > 0 {
		log.WarnContext(ctx, "script said too much", slog.Int("dropped_bytes", made.Dropped))
	}
	return made, nil
}

// startFault is why a program did not run.
func startFault(err error) error {
	failed, ok := errors.AsType[*run.StartError](err)
	if !ok {
		return sdk.Unknown("script-lost", err.Error())
	}
	code := "script-not-started"
	switch {
	case errors.Is(failed, fs.ErrNotExist):
		code = "script-missing"
	case errors.Is(failed, fs.ErrPermission):
		code = "script-not-executable"
	case errors.Is(failed, syscall.ENOEXEC):
		code = "script-not-a-program"
	}
	return sdk.Internal(code, err)
}

// firstSignal is above the exit codes that a program chooses: shells say 128 and the signal that ended what they ran.
const firstSignal = 128

// judge says what the end of an execution means.
func (s *script) judge(ctx context.Context, action string, e ended, secrets map[string]string) (*Reply, error) {
	if err := cutShort(ctx, action, e); err != nil {
		return nil, err
	}
	reply, err := parseReply(e.Stdout, secrets)
	if e.Exit == 0 {
		if err != nil {
			return nil, badReply(err)
		}
		return reply, nil
	}
	class, known := s.exits[e.Exit]
	if !known || err != nil {
		return nil, failed(action, e, secrets)
	}
	fault := &driverpb.Fault{Class: class, Code: codeOf(class), Message: sdk.Redact(reply.Message, secrets)}
	if reply.Fault != nil {
		fault.Field, fault.Remedy = reply.Fault.Field, sdk.Redact(reply.Fault.Remedy, secrets)
		if reply.Fault.Code != "" {
			fault.Code = reply.Fault.Code
		}
	}
	if fault.GetMessage() == "" {
		fault.Message = fmt.Sprintf("%s ended with exit code %d and said no message", action, e.Exit)
	}
	return nil, sdk.FromFault(fault)
}

// cutShort is the fault of a program that did not come to its own end. Nobody knows what it did until then.
func cutShort(ctx context.Context, action string, e ended) error {
	switch {
	case e.Stopped && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return sdk.Unknown("deadline", action+" did not end in time, and was ended")
	case e.Stopped:
		return sdk.Unknown("canceled", action+" was ended: nobody waits for it any more")
	case e.TooMuch:
		return sdk.Internal("too-much-output",
			fmt.Errorf("%s wrote more than %d bytes to stdout, and was ended", action, run.MaxOutput))
	case e.Signal != 0:
		return sdk.Unknown("script-killed", action+" was ended by "+e.Signal.String()+words(e))
	case e.Exit >= firstSignal:
		return sdk.Unknown("script-killed", fmt.Sprintf("%s ended with exit code %d, as shells do when %s ended what "+
			"they ran%s", action, e.Exit, syscall.Signal(e.Exit-firstSignal), words(e)))
	}
	return nil
}

// failed is the fault of a program that ended in no way that it may.
func failed(action string, e ended, secrets map[string]string) error {
	text := fmt.Sprintf("%s ended with exit code %d%s", action, e.Exit, words(e))
	if len(strings.TrimSpace(string(e.Stdout))) > 0 {
		text += "; stdout begins with " + beginning(e.Stdout, secrets)
	}
	return sdk.Internal("script-failed", errors.New(text))
}

// words are the last ones that a program said on stderr.
func words(e ended) string {
	if e.last == "" {
		return ""
	}
	const longest = 300
	return "; it said: " + e.last[:min(len(e.last), longest)]
}

func badReply(err error) error {
	return sdk.Internal("reply-invalid", err)
}
