package script

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/script/run"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// defaultCall is what a script gets when nobody says until when its answer is waited for.
const defaultCall = 2 * time.Minute

// Main serves the driver of an archive that was unpacked to dir, as sdk.Main does; it returns the exit code.
func Main(dir string) (exitCode int) {
	return sdk.Main(func(env sdk.Environment) (sdk.Driver, error) { return New(env, dir) })
}

// Asked tells whether this process was started to run a script, as archive.ScriptRunner says, and of which archive: the
// first question of main and TestMain in programs that start drivers. The answer to it is Main.
func Asked() (dir string, ok bool) {
	arguments := append([]string{os.Args[0]}, archive.ScriptRunner()...)
	if len(os.Args) != len(arguments)+1 || !slices.Equal(os.Args[:len(arguments)], arguments) {
		return "", false
	}
	return os.Args[len(arguments)], true
}

// New makes the driver of an archive that was unpacked to dir and whose entry is run once per call.
func New(env sdk.Environment, dir string) (sdk.Driver, error) {
	declaration, err := read(dir)
	if err != nil {
		return sdk.Driver{}, err
	}
	description, err := declaration.Describe()
	if err != nil {
		return sdk.Driver{}, fmt.Errorf("describing the driver: %w", err)
	}
	program, err := newProgram(env, declaration, dir)
	if err != nil {
		return sdk.Driver{}, err
	}
	driver := sdk.Driver{
		Name: declaration.Name, Version: declaration.Version, HandleReads: declaration.Handles.Reads,
		HandleWrites: declaration.Handles.Writes, Concurrency: declaration.Concurrency, Description: description,
	}
	if declaration.Script.Protocol == archive.ProtocolCloudStack {
		err := extend(&driver, declaration, program, filepath.Join(env.WorkDir, "machines"))
		return driver, err
	}
	serve(&driver, declaration, program)
	return driver, nil
}

// read reads the declaration of an unpacked archive.
func read(dir string) (*archive.Declaration, error) {
	text, err := os.ReadFile(filepath.Join(dir, archive.DeclarationFile))
	if err != nil {
		return nil, fmt.Errorf("reading what the script is: %w", err)
	}
	declaration, err := archive.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading what the script is: %w", err)
	}
	if declaration.Script.Protocol == "" {
		return nil, errors.New("reading what the script is: driver.yaml has no script section")
	}
	return declaration, nil
}

// program is the vendor's, and how it is run.
type program struct {
	family  *run.Family
	command []string
	file    string // that came with the archive
	calls   string // where each call has a directory of its own
	env     []string
	log     *slog.Logger
	timeout time.Duration
}

func newProgram(env sdk.Environment, declaration *archive.Declaration, dir string) (*program, error) {
	entry, err := declaration.EntryFor(runtime.GOOS + "/" + runtime.GOARCH)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	family, err := run.Here()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	file := filepath.Join(dir, filepath.FromSlash(entry.Command))
	p := &program{
		family: family, log: env.Log, timeout: time.Duration(declaration.Timeouts.Call), file: file,
		command: append(slices.Clone(entry.Interpreter), file),
		// Two versions of a driver have one work directory.
		calls: filepath.Join(env.WorkDir, "calls", env.Instance),
		env:   []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", sdk.EnvWorkDir + "=" + env.WorkDir},
	}
	if p.timeout == 0 {
		p.timeout = defaultCall
	}
	err = os.RemoveAll(p.calls) // of a process that was killed
	if err == nil {
		err = os.MkdirAll(p.calls, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("making a directory for calls: %w", err)
	}
	return p, nil
}

// serve adds what the script serves.
func serve(driver *sdk.Driver, declaration *archive.Declaration, p *program) {
	s := &script{
		program: p, actions: declaration.Script.Actions, category: declaration.Categories[0], exits: exits(),
		filler: filler{version: declaration.Handles.Writes},
	}
	for _, exit := range declaration.Script.Exits {
		s.exits[int(exit.Code)] = classOf(exit.Class)
	}
	driver.Resources = s
	for _, category := range declaration.Categories {
		switch category {
		case "storage":
			driver.Storage = storage{s: s}
		case "image":
			driver.Images = images{s: s}
		case "hypervisor":
			driver.Hypervisor = hypervisor{s: s}
		case "network":
			driver.Networks = networks{s: s}
		case "out-of-band":
			driver.OutOfBand = outOfBand{s: s}
		}
	}
}

var (
	_ driverpb.StorageServer    = storage{}
	_ driverpb.ImagesServer     = images{}
	_ driverpb.HypervisorServer = hypervisor{}
	_ driverpb.NetworksServer   = networks{}
	_ driverpb.OutOfBandServer  = outOfBand{}
)
