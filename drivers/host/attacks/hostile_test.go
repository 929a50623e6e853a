package attacks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// hostile is the driver. It speaks the contract without the SDK, which would keep it from lying.
type hostile struct {
	driverpb.UnimplementedBaseServer
	driverpb.UnimplementedStorageServer
	at        world
	inherited []string
	hello     *driverpb.HelloReply
	behaviour string

	mutex     sync.Mutex
	conn      *net.UnixConn
	stream    driverpb.Base_AttendServer
	asked     uint64
	answers   map[uint64]chan *driverpb.HostAnswer
	sending   sync.Mutex
	attended  chan struct{} // closed when the host attends
	deafening chan struct{} // closed to listen to no more answers
}

// Behaviours of a hostile driver at its start.
const (
	liesAboutName     = "name"
	liesAboutVersion  = "version"
	liesAboutCategory = "category"
	liesAboutAPI      = "api"
	saysNothing       = "silence"
)

// runHostile is the driver process.
func runHostile(arguments []string) int {
	h := &hostile{
		inherited: openNow(), answers: map[uint64]chan *driverpb.HostAnswer{}, deafening: make(chan struct{}),
		attended: make(chan struct{}),
		hello: &driverpb.HelloReply{
			Api: sdk.APIMax, Name: arguments[0], Version: "1.0.0",
			Categories: []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		},
	}
	if len(arguments) > 1 {
		h.behaviour = arguments[1]
	}
	switch h.behaviour {
	case liesAboutName:
		h.hello.Name = "test/sibling"
	case liesAboutVersion:
		h.hello.Version = "2.0.0"
	case liesAboutCategory:
		h.hello.Categories = []driverpb.Category{driverpb.Category_CATEGORY_HYPERVISOR}
	case liesAboutAPI:
		h.hello.Api = 99
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() { // without it the first process of a namespace ignores the signal
		<-ended
		os.Exit(0)
	}()
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server := grpc.NewServer(grpc.MaxSendMsgSize(1 << 30))
	driverpb.RegisterBaseServer(server, h)
	driverpb.RegisterStorageServer(server, h)
	if err := server.Serve(&listening{Listener: listener, came: h.remember}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// openNow lists the files that are open, but for those that Go opens itself.
func openNow() []string {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return []string{err.Error()}
	}
	var open []string
	for _, name := range names {
		place, err := os.Readlink("/proc/self/fd/" + name.Name())
		own := slices.ContainsFunc([]string{"anon_inode:", "/proc/", "/sys/fs/cgroup/"}, func(prefix string) bool {
			return strings.HasPrefix(place, prefix)
		})
		if err == nil && !own {
			open = append(open, place)
		}
	}
	return open
}

// listening tells of each connection.
type listening struct {
	net.Listener
	came func(net.Conn)
}

// Accept implements net.Listener.
func (l *listening) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.came(conn)
	}
	return conn, err
}

func (h *hostile) remember(conn net.Conn) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.conn, _ = conn.(*net.UnixConn)
}

func (h *hostile) connection() *net.UnixConn {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.conn
}

// Hello implements driverpb.BaseServer.
func (h *hostile) Hello(ctx context.Context, _ *driverpb.HelloRequest) (*driverpb.HelloReply, error) {
	if h.behaviour == saysNothing {
		<-ctx.Done()
	}
	return h.hello, nil
}

// Configure implements driverpb.BaseServer.
func (h *hostile) Configure(context.Context, *driverpb.ConfigureRequest) (*driverpb.ConfigureReply, error) {
	return &driverpb.ConfigureReply{}, nil
}

// Probe implements driverpb.BaseServer.
func (h *hostile) Probe(context.Context, *driverpb.ProbeRequest) (*driverpb.ProbeReply, error) {
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}, nil
}

// Observe implements driverpb.BaseServer, and never ends.
func (h *hostile) Observe(_ *driverpb.ObserveRequest, stream driverpb.Base_ObserveServer) error {
	found := &driverpb.Observed{Name: strings.Repeat("x", 256<<10)}
	for {
		if err := stream.Send(found); err != nil {
			return err
		}
	}
}

// Shutdown implements driverpb.BaseServer, and stays.
func (h *hostile) Shutdown(context.Context, *driverpb.ShutdownRequest) (*driverpb.ShutdownReply, error) {
	return nil, errors.New("no")
}

// Attend implements driverpb.BaseServer.
func (h *hostile) Attend(stream driverpb.Base_AttendServer) error {
	h.mutex.Lock()
	if h.stream == nil {
		close(h.attended)
	}
	h.stream = stream
	h.mutex.Unlock()
	defer h.hungUp()
	for {
		select {
		case <-h.deafening:
			<-stream.Context().Done()
			return nil
		default:
		}
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		h.mutex.Lock()
		waiting := h.answers[answer.GetId()]
		delete(h.answers, answer.GetId())
		h.mutex.Unlock()
		if waiting != nil {
			waiting <- answer
		}
	}
}

// hungUp tells who waits for an answer that none will come.
func (h *hostile) hungUp() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for id, waiting := range h.answers {
		delete(h.answers, id)
		close(waiting)
	}
}

// send sends a request to the host on whatever stream there is.
func (h *hostile) send(request *driverpb.HostRequest) error {
	select {
	case <-h.attended:
	case <-time.After(askTime):
		return errors.New("the host does not attend")
	}
	h.mutex.Lock()
	stream := h.stream
	h.mutex.Unlock()
	h.sending.Lock()
	defer h.sending.Unlock()
	return stream.Send(request)
}

// ask asks the host and waits for its answer.
func (h *hostile) ask(request *driverpb.HostRequest) (*driverpb.Unit, error) {
	answer := make(chan *driverpb.HostAnswer, 1)
	h.mutex.Lock()
	h.asked++
	request.Id = h.asked
	h.answers[request.GetId()] = answer
	h.mutex.Unlock()
	if err := h.send(request); err != nil {
		return nil, err
	}
	patience := time.NewTimer(askTime)
	defer patience.Stop()
	select {
	case said, ok := <-answer:
		if !ok {
			return nil, errors.New("the host hangs up")
		}
		return said.GetUnit(), sdk.FromFault(said.GetFault())
	case <-patience.C:
		return nil, errors.New("the host does not answer")
	}
}

const askTime = 10 * time.Second

func (h *hostile) launch(launch *driverpb.Launch) error {
	_, err := h.ask(&driverpb.HostRequest{Request: &driverpb.HostRequest_Launch{Launch: launch}})
	return err
}

func (h *hostile) terminate(unit string) (*driverpb.Unit, error) {
	return h.ask(&driverpb.HostRequest{Request: &driverpb.HostRequest_Terminate{
		Terminate: &driverpb.Terminate{Unit: unit},
	}})
}

// CreateVolume tries the attack that the property "try" names, and answers with what came of it.
func (h *hostile) CreateVolume(
	_ context.Context, request *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
	properties := request.GetCall().GetProperties().GetFields()
	if err := json.Unmarshal([]byte(properties["world"].GetStringValue()), &h.at); err != nil {
		return nil, err
	}
	name := properties["try"].GetStringValue()
	if do, ok := h.orders()[name]; ok {
		return do()
	}
	for _, a := range battery() {
		if a.name == name && a.try != nil {
			return &driverpb.VolumeReply{Handle: &driverpb.Handle{Data: []byte(outcome(a.try(h)))}}, nil
		}
	}
	return nil, fmt.Errorf("there is no attack %q", name)
}

// outcome is "" for what was possible.
func outcome(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// orders are what attacks at the host need the driver for.
func (h *hostile) orders() map[string]func() (*driverpb.VolumeReply, error) {
	done := func(err error) (*driverpb.VolumeReply, error) { return &driverpb.VolumeReply{}, err }
	return map[string]func() (*driverpb.VolumeReply, error){
		orderHuge: func() (*driverpb.VolumeReply, error) {
			return &driverpb.VolumeReply{Handle: &driverpb.Handle{Data: make([]byte, 8<<20)}}, nil
		},
		orderHandle: func() (*driverpb.VolumeReply, error) {
			return &driverpb.VolumeReply{Handle: &driverpb.Handle{Data: make([]byte, 1<<20)}}, nil
		},
		orderLink:  func() (*driverpb.VolumeReply, error) { return done(os.Symlink(h.at.Stream, "console")) },
		orderPlant: func() (*driverpb.VolumeReply, error) { return done(os.Symlink(h.at.Dir, h.at.Code)) },
		orderFlood: func() (*driverpb.VolumeReply, error) { return done(h.flood()) },
		orderLog:   func() (*driverpb.VolumeReply, error) { return done(h.floodLog()) },
		orderUnit:  h.launchUnit,
	}
}

// Orders.
const (
	orderHuge   = "order: answer with 8 MiB"
	orderHandle = "order: answer with a handle of 1 MiB"
	orderLink   = "order: put a link to a socket of others into its directory"
	orderPlant  = "order: put a link to the server's directory into a pool"
	orderFlood  = "order: ask the host without end, and do not listen"
	orderLog    = "order: fill the log"
	orderUnit   = "order: launch a unit"
)

const flooded = 20000

// flood asks more than anybody could answer, and does not listen.
func (h *hostile) flood() error {
	close(h.deafening)
	go func() { // ends with the process
		for i := range uint64(flooded) {
			err := h.send(&driverpb.HostRequest{Id: 1<<32 + i, Request: &driverpb.HostRequest_Inspect{
				Inspect: &driverpb.Inspect{Unit: strings.Repeat("x", 4096)},
			}})
			if err != nil {
				return
			}
		}
	}()
	return nil
}

func (h *hostile) floodLog() error {
	line := []byte(strings.Repeat("x", 4095) + "\n")
	go func() { // ends with the process
		for {
			if _, err := os.Stderr.Write(line); err != nil {
				return
			}
		}
	}()
	return nil
}

// launchUnit is what a good driver does.
func (h *hostile) launchUnit() (*driverpb.VolumeReply, error) {
	unit, err := h.ask(&driverpb.HostRequest{Request: &driverpb.HostRequest_Launch{
		Launch: &driverpb.Launch{Unit: h.at.SiblingUnit, Argv: []string{sleepProgram, "1000"}},
	}})
	return &driverpb.VolumeReply{Handle: &driverpb.Handle{Data: strconv.AppendInt(nil, unit.GetPid(), 10)}}, err
}
