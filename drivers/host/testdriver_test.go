package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// runDriver is the driver process: os.Args are test-driver, the name it says it has, and how it behaves at start.
func runDriver() int {
	behaviour := ""
	if len(os.Args) > 3 {
		behaviour = os.Args[3]
	}
	if path, ok := strings.CutPrefix(behaviour, "crash-unless="); ok {
		if _, err := os.Stat(path); err != nil {
			fmt.Fprintln(os.Stderr, "crashing as told:", err)
			return 7
		}
	}
	if behaviour == "never-answer" {
		select {}
	}
	return sdk.Main(func(env sdk.Environment) (sdk.Driver, error) {
		d := &testDriver{env: env}
		return sdk.Driver{
			Name: os.Args[2], Version: "1.0.0", HandleWrites: 1, Resources: d, Storage: d, Metrics: d.metrics(behaviour),
		}, nil
	})
}

type testDriver struct {
	driverpb.UnimplementedStorageServer
	env        sdk.Environment
	configured map[string]any
	echoes     prometheus.Counter
	hold       [][]byte
}

func (d *testDriver) Configure(_ context.Context, properties map[string]any, _ map[string]string) error {
	d.configured = properties
	return nil
}

func (d *testDriver) Probe(context.Context, *driverpb.Call) (*driverpb.ProbeReply, error) {
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_DEGRADED, Reason: "array is slow"}, nil
}

func (d *testDriver) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

func (d *testDriver) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

func (d *testDriver) Observe(_ context.Context, _ *driverpb.Call, found func(*driverpb.Observed) error) error {
	return found(&driverpb.Observed{Name: "one"})
}

// CreateVolume does what the property "do" says.
func (d *testDriver) CreateVolume(
	ctx context.Context, request *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
	properties := request.GetCall().GetProperties().AsMap()
	name, _ := properties["do"].(string)
	var arguments []string
	list, _ := properties["arguments"].([]any)
	for _, argument := range list {
		arguments = append(arguments, fmt.Sprint(argument))
	}
	action, ok := d.actions()[name]
	if !ok {
		return nil, fmt.Errorf("the test driver can't %q", name)
	}
	said, err := action(ctx, arguments)
	if err != nil {
		return nil, err
	}
	return &driverpb.VolumeReply{Handle: &driverpb.Handle{Version: 1, Data: []byte(said)}}, nil
}

// gathered is a driver's metrics as a function.
type gathered func() ([]*dto.MetricFamily, error)

func (g gathered) Gather() ([]*dto.MetricFamily, error) { return g() }

// metrics are what the driver counts, as it is to behave; nil = nothing.
func (d *testDriver) metrics(behaviour string) sdk.Metrics {
	d.echoes = prometheus.NewCounter(prometheus.CounterOpts{Name: "echoes_total", Help: "Times it said what it was told."})
	registry := prometheus.NewRegistry()
	registry.MustRegister(d.echoes)
	one := func(name, label, value string) sdk.Metrics {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "A figure."}, []string{label})
		g.WithLabelValues(value).Set(1)
		registry.MustRegister(g)
		return registry
	}
	switch behaviour {
	case "count":
		return registry
	case "count-as-another":
		return one("calls_seen", "driver", "bulkhead/filestorage")
	case "count-too-much":
		return one("long", "label", strings.Repeat("x", 1<<20))
	case "count-never":
		return gathered(func() ([]*dto.MetricFamily, error) { select {} })
	case "count-once":
		told := false
		return gathered(func() ([]*dto.MetricFamily, error) {
			if told {
				return nil, errors.New("no more")
			}
			told = true
			return registry.Gather()
		})
	}
	return nil
}

type action func(ctx context.Context, arguments []string) (string, error)

func (d *testDriver) actions() map[string]action {
	return map[string]action{
		"configured": d.sayConfigured, "dial": dial, "dial-myself": dialMyself,
		"eat-memory": d.eatMemory, "echo": d.echo,
		"environment": environment, "escape": escape, "exchange": exchange, "fail": fail, "flood": flood, "hang": hang,
		"inspect": d.inspect, "launch": d.launch, "make-namespace": makeNamespace, "open-files": openFiles,
		"read": readFile, "run": runProgram, "serve": d.serve, "symlink": symlink, "terminate": d.terminate,
		"work-dir": d.sayWorkDir,
		"write":    write,
	}
}

func (d *testDriver) sayConfigured(context.Context, []string) (string, error) {
	return fmt.Sprint(d.configured), nil
}

func (d *testDriver) sayWorkDir(context.Context, []string) (string, error) { return d.env.WorkDir, nil }

func (d *testDriver) echo(_ context.Context, arguments []string) (string, error) {
	if d.echoes != nil {
		d.echoes.Inc()
	}
	return strings.Join(arguments, " "), nil
}

func dial(_ context.Context, arguments []string) (string, error) {
	conn, err := net.Dial(arguments[0], arguments[1])
	if err != nil {
		return "", err
	}
	return "", conn.Close()
}

// exchange says something to a unix socket and returns what it hears until the other side has said all.
func exchange(_ context.Context, arguments []string) (string, error) {
	conn, err := net.Dial("unix", arguments[0])
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, arguments[1]); err != nil {
		return "", err
	}
	heard, err := io.ReadAll(conn)
	return string(heard), err
}

// dialMyself makes a unix socket in the work directory and connects to it.
func dialMyself(ctx context.Context, _ []string) (string, error) {
	listener, err := net.Listen("unix", "own.sock")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return dial(ctx, []string{"unix", "own.sock"})
}

// serve makes a unix socket in the work directory on which it says everything twice, for as long as the driver runs.
func (d *testDriver) serve(context.Context, []string) (string, error) {
	path := filepath.Join(d.env.WorkDir, "serve.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		return "", err
	}
	go func() { // ends with the process
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
		}
	}()
	return path, nil
}

func environment(context.Context, []string) (string, error) {
	return strings.Join(os.Environ(), "\n"), nil
}

func fail(context.Context, []string) (string, error) {
	return "", sdk.Exhausted("no-space", "full", "")
}

func symlink(_ context.Context, arguments []string) (string, error) {
	return "", os.Symlink(arguments[0], arguments[1])
}

func hang(context.Context, []string) (string, error) {
	select {} // and ignores its context
}

// flood prints as much as it can for two seconds.
func flood(context.Context, []string) (string, error) {
	line := []byte(strings.Repeat("x", 4095) + "\n")
	written := 0
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		n, err := os.Stderr.Write(line)
		if err != nil {
			return "", err
		}
		written += n
	}
	return fmt.Sprint(written), nil
}

func (d *testDriver) eatMemory(context.Context, []string) (string, error) {
	for {
		block := make([]byte, 8<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		d.hold = append(d.hold, block)
	}
}

// escape leaves a process in a session of its own behind and dies.
func escape(_ context.Context, arguments []string) (string, error) {
	child := exec.Command("/bin/sleep", arguments[0])
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return "", err
	}
	os.Exit(9)
	return "", nil
}

func write(_ context.Context, arguments []string) (string, error) {
	return "", os.WriteFile(arguments[0], []byte("written"), 0o660)
}

// makeNamespace makes a network namespace and keeps it by a mount.
func makeNamespace(_ context.Context, arguments []string) (string, error) {
	runtime.LockOSThread() // and never unlock: the thread stays in the namespace and ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return "", fmt.Errorf("unsharing: %w", err)
	}
	if err := os.WriteFile(arguments[0], nil, 0o444); err != nil {
		return "", err
	}
	err := unix.Mount("/proc/thread-self/ns/net", arguments[0], "", unix.MS_BIND, "")
	return "", err
}

func readFile(_ context.Context, arguments []string) (string, error) {
	text, err := os.ReadFile(arguments[0])
	return string(text), err
}

func runProgram(ctx context.Context, arguments []string) (string, error) {
	out, err := exec.CommandContext(ctx, arguments[0], arguments[1:]...).CombinedOutput()
	return string(out), err
}

func openFiles(context.Context, []string) (string, error) {
	for n := 0; ; n++ {
		if _, err := syscall.Dup(1); err != nil {
			return fmt.Sprint(n), nil //nolint:nilerr // the limit is the answer
		}
	}
}

func (d *testDriver) launch(ctx context.Context, arguments []string) (string, error) {
	var launch driverpb.Launch
	if err := json.Unmarshal([]byte(arguments[0]), &launch); err != nil {
		return "", err
	}
	return say(d.env.Host.Launch(ctx, &launch))
}

func (d *testDriver) inspect(ctx context.Context, arguments []string) (string, error) {
	return say(d.env.Host.Inspect(ctx, arguments[0]))
}

func (d *testDriver) terminate(ctx context.Context, arguments []string) (string, error) {
	grace, err := time.ParseDuration(arguments[1])
	if err != nil {
		return "", err
	}
	return say(d.env.Host.Terminate(ctx, arguments[0], grace))
}

func say(unit *driverpb.Unit, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(unit)
	return string(text), err
}

// runServer is a server process that starts one driver and one unit and waits to be killed.
func runServer(dir string) int {
	err := serveUntilKilled(dir)
	fmt.Fprintln(os.Stderr, "test server:", err)
	return 1
}

func serveUntilKilled(dir string) error {
	h, err := host.Open(quick(dir))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	instance, err := h.Start(ctx, killedServerManifest(self), host.Setup{})
	if err != nil {
		return err
	}
	if err := instance.Await(ctx, host.StateRunning); err != nil {
		return err
	}
	unit, err := do(ctx, instance, "launch-1", "launch", `{"unit":"guest-1","argv":["/bin/sleep","1000"]}`)
	if err != nil {
		return err
	}
	go func() { _, _ = do(context.Background(), instance, "hang-1", "hang") }()
	for state := driverpb.RecallReply_STATE_UNKNOWN; state != driverpb.RecallReply_STATE_RUNNING; {
		reply, err := driverpb.NewBaseClient(instance.Conn()).Recall(ctx, &driverpb.RecallRequest{Token: "hang-1"})
		if err != nil {
			return err
		}
		state = reply.GetState()
	}
	fmt.Printf("%d %s\n", instance.PID(), unit)
	<-ctx.Done()
	return errors.New("nobody killed it")
}

func killedServerManifest(self string) host.Manifest {
	return host.Manifest{
		Name: "test/reattached", Version: "1.0.0",
		Categories:  []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		Command:     []string{self, "test-driver", "test/reattached"},
		Timeouts:    host.Timeouts{Shutdown: time.Second},
		Permissions: host.Permissions{Launch: []host.Program{{Path: "/bin/sleep"}}},
	}
}
