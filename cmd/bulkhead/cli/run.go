package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

const (
	// attachAgain is how long to wait before what did not work is tried again.
	attachAgain = time.Second
	// attachLimit is how long a server has to bring a version that was just installed to where it can be attached to.
	attachLimit = 30 * time.Second
	// lookAgain is how often it is looked whether a process listens.
	lookAgain = 100 * time.Millisecond
)

// runDriverCommand runs a driver that is being developed in the place of a server's.
func (a *app) runDriverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run DIR|FILE.car --attach", Short: "Run a driver that you develop in place of the server's own process of it",
		Args: exactly(1, "DIR|FILE.car"),
		Long: "Run a driver that you develop, as yourself and unconfined, in place of the process that a server\n" +
			"runs of the same version; a version that is not installed is packed and installed first. The server\n" +
			"must have been started with --development. It does not kill the driver when it stands at a breakpoint.\n" +
			"Ctrl-C gives the server its own process back. With --no-start you start the driver yourself, in a debugger.",
	}
	cmd.Flags().Bool("attach", false, "take the place of the server's process: there is no other way to run a driver yet")
	cmd.Flags().Bool("no-start", false, "start no process: say how to, and wait for yours")
	cmd.Flags().String("socket", "", "with --no-start: path of the socket that your process listens at")
	cmd.Flags().Bool("yes", false, "do not ask before a version is installed")
	waiting(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if attach, _ := cmd.Flags().GetBool("attach"); !attach {
			return usage("'"+cmd.CommandPath()+"' needs --attach", "a driver runs for a server: start one with "+
				"'bulkhead dev --development', and give --attach")
		}
		return a.runAttached(cmd, args[0])
	}
	return cmd
}

// attaching is a driver that is being run for a server.
type attaching struct {
	app     *app
	cmd     *cobra.Command
	client  *client.Client
	session string
	// id is that of the version on the server, name what people call it.
	id, name string
	program  *program
}

func (a *app) runAttached(cmd *cobra.Command, path string) error {
	work, err := os.MkdirTemp("", "bulkhead-run-") // which nobody else may enter
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // what is left is in a temporary directory
	dir, declared, err := driverIn(cmd.Context(), path, work)
	if err != nil {
		return err
	}
	manifest, err := declared.Manifest(runtime.GOOS+"/"+runtime.GOARCH, dir)
	if err != nil {
		return wrong(err)
	}
	if declared.Script.Protocol != "" {
		return usage(declared.Name+" is a script, which is run once per call: nothing of it can be attached",
			"try it with 'bulkhead driver test'")
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	t := &attaching{app: a, cmd: cmd, client: c, session: rand.Text(), name: declared.Name + " " + declared.Version}
	if t.id, err = t.installed(path, work, declared); err != nil {
		return err
	}
	if t.program, err = newProgram(cmd, manifest, work); err != nil {
		return err
	}
	defer t.program.end()
	return t.run(cmd.Context())
}

// driverIn finds the directory of a driver. An archive is unpacked below work.
func driverIn(ctx context.Context, path, work string) (dir string, d *archive.Declaration, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, wrong(err)
	}
	if dir, err = filepath.Abs(path); err != nil {
		return "", nil, wrong(err)
	}
	if !info.IsDir() {
		if dir, err = unpack(ctx, path, filepath.Join(work, "archive")); err != nil {
			return "", nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, archive.DeclarationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, usage(path+" has no driver.yaml", "name the directory that driver.yaml is in, or a .car file")
	}
	if err != nil {
		return "", nil, wrong(err)
	}
	if d, err = archive.Parse(text); err != nil {
		return "", nil, wrong(fmt.Errorf("%s: %w", path, err))
	}
	return dir, d, nil
}

func unpack(ctx context.Context, path, into string) (string, error) {
	store, err := archive.OpenStore(into, archive.DefaultLimits())
	if err != nil {
		return "", err
	}
	defer func() { _ = store.Close() }()
	f, err := os.Open(path)
	if err != nil {
		return "", wrong(err)
	}
	defer f.Close()
	found, err := store.Unpack(ctx, f, "")
	if err != nil {
		return "", wrong(fmt.Errorf("%s: %w", path, err))
	}
	return store.Dir(found.Digest), nil
}

// installed finds the version on the server, or installs it.
func (t *attaching) installed(path, work string, declared *archive.Declaration) (id string, err error) {
	query := url.Values{"product": {declared.Name}}
	answer, err := t.client.Get(t.cmd.Context(), "/v1/drivers", query)
	if err != nil {
		return "", err
	}
	for _, d := range parts(answer, "items") {
		if text(d, "spec.version") == declared.Version {
			return text(d, "id"), nil
		}
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		packed := filepath.Join(work, "driver.car")
		if err = pack(t.cmd.Context(), path, packed); err != nil {
			return "", wrong(err)
		}
		path = packed
	}
	if err != nil {
		return "", wrong(err)
	}
	fmt.Fprintf(t.cmd.ErrOrStderr(), "Driver %s is not installed; it is installed now.\n", t.name)
	operation, err := t.app.install(t.cmd, path)
	if err != nil {
		return "", err
	}
	last, err := t.app.settle(t.cmd, operation)
	if err != nil {
		return "", err
	}
	return text(last, "target.id"), nil
}

func pack(ctx context.Context, dir, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = archive.Pack(ctx, dir, f, archive.DefaultLimits())
	return errors.Join(err, f.Close())
}

// run keeps the driver attached until the user leaves.
func (t *attaching) run(ctx context.Context) error {
	place, err := t.first(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.cmd.ErrOrStderr(), "Driver %s waits for your process. Ctrl-C gives the server its own one back.\n%s",
		t.name, t.program.instructions())
	for {
		err := t.join(ctx, place)
		if ctx.Err() != nil {
			return t.detached(place)
		}
		if refused, is := errors.AsType[*client.Refused](err); is && t.program.starts {
			place.Leave()
			return Failed("the server does not take the driver: "+refused.Reason, "correct the driver, and run it again")
		}
		if err != nil {
			fmt.Fprintf(t.cmd.ErrOrStderr(), "%v\n", err)
			place.Keep()
		}
		if place, err = t.again(ctx, place); err != nil {
			return err
		}
	}
}

func (t *attaching) detached(place *client.Attached) error {
	place.Leave()
	fmt.Fprintf(t.cmd.ErrOrStderr(), "Detached: the server runs driver %s itself again.\n", t.name)
	return nil
}

// join has the server make calls of the driver's process until either is gone.
func (t *attaching) join(ctx context.Context, place *client.Attached) error {
	conn, err := t.program.connect(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { place.Leave() })
	defer stop()
	err = place.Join(conn, func() {
		fmt.Fprintf(t.cmd.ErrOrStderr(), "Attached: the server makes the calls of driver %s to your process now.\n", t.name)
	})
	if err == nil && ctx.Err() == nil {
		fmt.Fprintf(t.cmd.ErrOrStderr(), "Your process is gone; calls wait for the next one.\n")
	}
	return err
}

// first attaches for the first time. What was just installed may not be there yet.
func (t *attaching) first(ctx context.Context) (*client.Attached, error) {
	limit := time.Now().Add(attachLimit)
	for {
		place, err := t.client.Attach(ctx, t.id, t.session)
		problem, is := errors.AsType[*client.Problem](err)
		if err == nil || !is || problem.Class != "unavailable" || time.Now().After(limit) || !pause(ctx, attachAgain) {
			return place, err
		}
	}
}

// again attaches the next process, for as long as the server is away. The first place is left when the user leaves.
func (t *attaching) again(ctx context.Context, last *client.Attached) (*client.Attached, error) {
	told := false
	for {
		place, err := t.client.Attach(ctx, t.id, t.session)
		if err == nil {
			return place, nil
		}
		if ctx.Err() != nil {
			return last, nil //nolint:nilerr // the user leaves, and so the last place is left
		}
		if problem, is := errors.AsType[*client.Problem](err); is && problem.Class != "unavailable" {
			return nil, err
		}
		if !told {
			told = true
			fmt.Fprintf(t.cmd.ErrOrStderr(), "The server can't be attached to: %v. It is tried again.\n", err)
		}
		if !pause(ctx, attachAgain) {
			return last, nil
		}
	}
}

// pause waits; false means that the user left.
func pause(ctx context.Context, span time.Duration) bool {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
