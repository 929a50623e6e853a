package attacks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	sleepProgram = "/bin/sleep"
	siblingUnit  = "guest"
	mostUnits    = 3
	serverTime   = 3 * time.Minute
	envSecret    = "BULKHEAD_ATTACKED_SECRET"
)

// results are what came of a battery, with the report of the driver that tried it.
type results struct {
	Report sandbox.Report
	// Outcomes by the name of the attack; "" was possible.
	Outcomes map[string]string
}

// server is the process that is attacked: a host with a sibling, and what else is around.
type server struct {
	dir     string
	host    *host.Host
	hostile *host.Instance
	world   world
	calls   int
	opened  []io.Closer
}

// runServer runs the battery in a process of its own, without the mechanisms named, and prints the results.
func runServer(dir string, without []string) int {
	if err := takeAway(without); err != nil {
		fmt.Fprintln(os.Stderr, "taking mechanisms away:", err)
		return 1
	}
	got, err := attackedIn(dir)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(got)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacked server:", err)
		return 1
	}
	return 0
}

func attackedIn(dir string) (got *results, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), serverTime)
	defer cancel()
	if err := os.Setenv(envSecret, "secret"); err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	s.host, err = host.Open(host.Config{
		StateDir: s.stateDir(),
		Backoff:  host.Backoff{Initial: time.Millisecond, Max: 5 * time.Millisecond, CrashLoopAfter: 1000},
		Health:   host.HealthChecks{Every: time.Second, Timeout: 5 * time.Second},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	if err := s.surround(ctx); err != nil {
		return nil, fmt.Errorf("making surroundings: %w", err)
	}
	m := s.manifest("test/hostile")
	m.Code = filepath.Join(dir, "code")
	if s.hostile, err = s.start(ctx, m); err != nil {
		return nil, err
	}
	got = &results{Report: s.hostile.Report(), Outcomes: map[string]string{}}
	for _, a := range battery() {
		got.Outcomes[a.name] = s.attacked(ctx, &a)
	}
	return got, s.siblingLives()
}

func (s *server) stateDir() string { return filepath.Join(s.dir, "state") }
func (s *server) workDir(driver string) string {
	return filepath.Join(s.stateDir(), "drivers", driver, "work")
}

// end leaves nothing behind.
func (s *server) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var failed error
	for _, instance := range s.host.Instances() {
		failed = errors.Join(failed, s.host.EndUnits(ctx), s.host.Stop(ctx, instance.Name()))
	}
	s.host.Close()
	for _, closer := range s.opened {
		_ = closer.Close()
	}
	return failed
}

// manifest declares a hostile driver: what is not in it is what it tries.
func (s *server) manifest(name string, arguments ...string) host.Manifest {
	_, text, _ := net.SplitHostPort(s.world.Allowed)
	allowed, _ := strconv.ParseUint(text, 10, 16)
	return host.Manifest{
		Name: name, Version: "1.0.0",
		Categories: []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		Command:    append([]string{filepath.Join(s.dir, "program"), roleHostile, name}, arguments...),
		Permissions: host.Permissions{
			Exec:       []string{"/bin/true", "/bin/cat", sleepProgram},
			TCPConnect: []uint16{uint16(allowed)},
			Launch:     []host.Program{{Path: sleepProgram}},
		},
		Limits: host.Limits{
			OpenFiles: openFiles, Processes: processes, FileBytes: fileBytes, MemoryBytes: memory, Units: mostUnits,
		},
		Timeouts: host.Timeouts{Shutdown: time.Millisecond, Call: 20 * time.Second},
	}
}

func (s *server) start(ctx context.Context, m host.Manifest) (*host.Instance, error) {
	instance, err := s.host.Start(ctx, m, host.Setup{})
	if err != nil {
		return nil, err
	}
	if err := instance.Await(ctx, host.StateRunning); err != nil {
		tail, _ := instance.LogTail(4096)
		return nil, fmt.Errorf("%w: %s", err, tail)
	}
	return instance, nil
}

// runs tells whether a driver of this manifest comes to run.
func (s *server) runs(ctx context.Context, m host.Manifest) error {
	instance, err := s.host.Start(ctx, m, host.Setup{})
	if err != nil {
		return err
	}
	defer func() { _ = s.host.Stop(ctx, instance.Name()) }()
	if err := instance.Await(ctx, host.StateRunning, host.StateBackingOff); err != nil {
		return err
	}
	if failures := instance.LastErrors(); len(failures) > 0 {
		return errors.New(failures[0].Text)
	}
	return nil
}

// attacked tries one attack and tells what came of it.
func (s *server) attacked(ctx context.Context, a *attack) string {
	if a.tryAtHost != nil {
		return outcome(a.tryAtHost(ctx, s))
	}
	for {
		said, err := s.order(ctx, s.hostile, a.name)
		switch {
		case sdk.FaultOf(err).GetCode() == "driver-unavailable" && ctx.Err() == nil:
			// It was not asked: the attack before ended it.
			time.Sleep(pollTime)
		case err != nil:
			return err.Error()
		default:
			return said
		}
	}
}

// order has a hostile driver do something. It waits until there is one: an attack may have ended the one before.
func (s *server) order(ctx context.Context, instance *host.Instance, what string) (string, error) {
	return s.call(ctx, instance, what, s.world)
}

func (s *server) call(ctx context.Context, instance *host.Instance, what string, at world) (string, error) {
	if err := instance.Await(ctx, host.StateRunning); err != nil {
		return "", err
	}
	text, err := json.Marshal(at)
	if err != nil {
		return "", err
	}
	packed, err := structpb.NewStruct(map[string]any{"try": what, "world": string(text)})
	if err != nil {
		return "", err
	}
	s.calls++
	id := strconv.Itoa(s.calls)
	reply, err := driverpb.NewStorageClient(instance.Conn()).CreateVolume(ctx, &driverpb.CreateVolumeRequest{
		Call: &driverpb.Call{
			Token: id, Resource: &driverpb.Ref{Kind: "volume", Id: "vol-" + id}, Epoch: 1, Properties: packed,
		},
	})
	return string(reply.GetHandle().GetData()), err
}

// surround makes what a hostile driver would like to reach.
func (s *server) surround(ctx context.Context) error {
	s.world = world{ServerPID: os.Getpid(), SiblingUnit: siblingUnit, Sibling: s.workDir("test.sibling")}
	if err := s.openSurroundings(ctx); err != nil {
		return err
	}
	return s.startSibling(ctx)
}

// openSurroundings names the files around, and opens what there is to connect to.
func (s *server) openSurroundings(ctx context.Context) error {
	w := &s.world
	w.Dir, w.Cgroup, w.Setuid = s.dir, firstCgroup(), filepath.Join(s.dir, "setuid")
	w.Secret, w.Code = filepath.Join(s.dir, "secret"), filepath.Join(s.dir, "code", "module")
	w.Stream, w.Datagram = filepath.Join(s.dir, "stream"), filepath.Join(s.dir, "datagram")
	w.Abstract = fmt.Sprintf("@bulkhead-attacked-%d", os.Getpid())
	for _, listen := range []struct {
		network, address string
		into             *string
	}{
		{"tcp4", "127.0.0.1:0", &w.Allowed},
		{"tcp4", "127.0.0.1:0", &w.Refused},
		{"unix", w.Stream, nil},
		{"unixgram", w.Datagram, nil},
		{"unixgram", w.Abstract, nil},
	} {
		address, err := s.listen(ctx, listen.network, listen.address)
		if err != nil {
			return err
		}
		if listen.into != nil {
			*listen.into = address
		}
	}
	return errors.Join(os.Chmod(w.Stream, 0o777), os.Chmod(w.Datagram, 0o777), s.openTerminal())
}

func (s *server) listen(ctx context.Context, network, address string) (string, error) {
	var config net.ListenConfig
	if network == "unixgram" {
		conn, err := config.ListenPacket(ctx, network, address)
		if err != nil {
			return "", err
		}
		s.opened = append(s.opened, conn)
		return address, nil
	}
	listener, err := config.Listen(ctx, network, address)
	if err != nil {
		return "", err
	}
	s.opened = append(s.opened, listener)
	return listener.Addr().String(), nil
}

func (s *server) openTerminal() error {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a terminal: %w", err)
	}
	s.opened = append(s.opened, os.NewFile(uintptr(fd), "terminal"))
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlocking a terminal: %w", err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("naming a terminal: %w", err)
	}
	s.world.Terminal = fmt.Sprintf("/dev/pts/%d", number)
	return os.Chmod(s.world.Terminal, 0o666)
}

// firstCgroup is the file that puts a process into the first group of a hierarchy.
func firstCgroup() string {
	for _, path := range []string{"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/pids/cgroup.procs"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return "/sys/fs/cgroup/unified/cgroup.procs"
}

// startSibling starts another driver with a unit.
func (s *server) startSibling(ctx context.Context) error {
	sibling, err := s.start(ctx, s.manifest("test/sibling"))
	if err != nil {
		return err
	}
	said, err := s.order(ctx, sibling, orderUnit)
	if err != nil {
		return err
	}
	s.world.UnitPID, err = strconv.Atoi(said)
	return err
}

// siblingLives fails when the battery hurt the sibling.
func (s *server) siblingLives() error {
	if units := s.host.Units("test/sibling"); strings.Join(units, " ") != siblingUnit {
		return fmt.Errorf("of the sibling's units run %v", units)
	}
	sibling, ok := s.host.Instance("test.sibling@1.0.0")
	if !ok || sibling.Restarts() != 0 || sibling.State() != host.StateRunning {
		return errors.New("the sibling was hurt")
	}
	return nil
}
