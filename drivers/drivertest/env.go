package drivertest

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"maps"
	"path"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Defaults of a harness.
const (
	defaultCall       = time.Minute
	defaultCancel     = 15 * time.Second
	defaultKillPoints = 3
	defaultParallel   = 8
	mebibyte          = 1 << 20
	defaultVolume     = 8 * mebibyte
)

// fill puts defaults where the harness says nothing.
func (h *Harness) fill() {
	setDefault(&h.Limits.Call, defaultCall)
	setDefault(&h.Limits.Cancel, defaultCancel)
	setDefault(&h.Limits.KillPoints, defaultKillPoints)
	setDefault(&h.Limits.Parallel, defaultParallel)
	if h.Storage != nil {
		setDefault(&h.Storage.VolumeBytes, defaultVolume)
		if h.Storage.Host == nil {
			h.Storage.Host = &driverpb.Ref{Kind: "host", Id: "host-kit"}
		}
	}
}

func setDefault[T comparable](at *T, value T) {
	var zero T
	if *at == zero {
		*at = value
	}
}

// env is what one check works with: a running instance, and the memory an engine would have.
type env struct {
	T
	harness  *Harness
	instance Instance
	journal  *journal
	killed   bool
	opened   []scope
	epoch    uint64
	run      string // makes ids and tokens of this check differ from all others

	mutex   sync.Mutex                  // of what is below, for the checks that do several things at once
	handles map[string]*driverpb.Handle // by kind/id
	tokens  int
	granted map[string]bool // paths
}

// scope is a pool, store, host or network with the properties it was opened with.
type scope struct {
	ref        *driverpb.Ref
	properties Properties
	secrets    map[string]string
}

// newEnv starts the driver and greets it as an engine does.
func newEnv(tb T, h *Harness) *env {
	tb.Helper()
	return greeted(tb, h, h.Start(tb))
}

// greeted is newEnv with an instance that runs already.
func greeted(tb T, h *Harness, instance Instance) *env {
	tb.Helper()
	e := &env{
		T: tb, harness: h, instance: instance, journal: newJournal(),
		handles: map[string]*driverpb.Handle{}, run: randomName(), epoch: 1, granted: map[string]bool{},
	}
	if keeper, ok := tb.(journalKeeper); ok {
		keeper.keepJournal(e.journal)
	}
	e.Cleanup(e.explain)
	e.greet()
	return e
}

// conn is the connection to the driver, with a memory.
func (e *env) conn() grpc.ClientConnInterface { return journalled{e.instance.Conn(), e.journal} }

// handle is what the driver returned last for a resource.
func (e *env) handle(ref *driverpb.Ref) *driverpb.Handle {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.handles[nameOf(ref)]
}

func (e *env) keep(ref *driverpb.Ref, handle *driverpb.Handle) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.handles[nameOf(ref)] = handle
}

func (e *env) next() int {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.tokens++
	return e.tokens
}

// randomName is short enough to leave room in names of 15 characters made from ids.
func randomName() string {
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // never fails
	return strings.ToLower(base32.HexEncoding.EncodeToString(raw[:]))
}

// greet is what a host does after each start.
func (e *env) greet() {
	e.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	e.hello()
	base := e.base()
	request := &driverpb.ConfigureRequest{Properties: e.structOf(e.harness.Properties), Secrets: e.harness.Secrets}
	if _, err := base.Configure(ctx, request); err != nil {
		e.Fatalf("configure: %v", err)
	}
}

func (e *env) hello() *driverpb.HelloReply {
	e.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	reply, err := e.base().Hello(ctx, &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1, Instance: "kit"})
	if err != nil {
		e.Fatalf("hello: %v", err)
	}
	return reply
}

// kill ends the process as kill -9 does.
func (e *env) kill() {
	e.Helper()
	e.killed = true
	e.instance.Kill(e.T)
}

// restart starts the process again after a kill.
func (e *env) restart() {
	e.Helper()
	e.instance.Restart(e.T)
	e.killed = false
	e.greet()
	for _, in := range e.opened {
		if _, err := e.try(openMethod(in.ref.GetKind()), e.openRequest(in)); err != nil {
			e.Fatalf("opening %s again after a restart: %v", nameOf(in.ref), err)
		}
	}
}

func (e *env) describe() *driverpb.DescribeReply {
	e.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	reply, err := e.base().Describe(ctx, &driverpb.DescribeRequest{})
	if err != nil {
		e.Fatalf("describe: %v", err)
	}
	return reply
}

// patience is the context of an ordinary call.
func (e *env) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), e.harness.Limits.Call)
}

// ref names a new resource of a kind.
func (e *env) ref(kind string) *driverpb.Ref {
	number := e.next()
	prefix := map[string]string{
		"volume": "vol", "snapshot": "snap", "machine": "mac", "network": "net", "template": "tpl",
		"image-store": "ist",
	}[kind]
	if prefix == "" {
		prefix = kind
	}
	return &driverpb.Ref{Kind: kind, Id: fmt.Sprintf("%s-%s%02d", prefix, e.run, number)}
}

// token makes a token no call of this check has had.
func (e *env) token() string {
	return fmt.Sprintf("op-%s/%d", e.run, e.next())
}

func nameOf(ref *driverpb.Ref) string { return ref.GetKind() + "/" + ref.GetId() }

func (e *env) structOf(p Properties) *structpb.Struct {
	e.Helper()
	made, err := structpb.NewStruct(p)
	if err != nil {
		e.Fatalf("the harness gives properties that can't be sent: %v", err)
	}
	return made
}

// call makes the Call for a resource in a scope, with a token of its own, as an engine would.
func (e *env) call(ref *driverpb.Ref, in scope) *driverpb.Call {
	e.Helper()
	settings, secrets := maps.Clone(in.properties), maps.Clone(in.secrets)
	e.grant(settings)
	return &driverpb.Call{
		Token: e.token(), Resource: ref, Epoch: e.epoch, Handle: e.handle(ref), Properties: e.structOf(settings),
		Secrets: secrets,
	}
}

// callOf returns the Call inside a request.
func callOf(request proto.Message) *driverpb.Call {
	holder, ok := request.(interface{ GetCall() *driverpb.Call })
	if !ok {
		return nil
	}
	return holder.GetCall()
}

// anew is the same request with a token of its own and the newest handle.
func anew[R proto.Message](e *env, request R) R {
	again, _ := proto.Clone(request).(R)
	call := callOf(again)
	call.Token, call.Handle = e.token(), e.handle(call.GetResource())
	return again
}

// repeated is the same request with the same token, asked again because its outcome is unknown.
func repeated[R proto.Message](request R) R {
	again, _ := proto.Clone(request).(R)
	callOf(again).Repeat = true
	return again
}

// invoke makes one call with a context of its own.
func (e *env) invoke(
	ctx context.Context, conn grpc.ClientConnInterface, method string, request proto.Message,
) (proto.Message, error) {
	reply, err := newReply(method)
	if err != nil {
		return nil, err
	}
	if err := conn.Invoke(ctx, method, request, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// newReply makes an empty reply of a method by its full name.
func newReply(method string) (proto.Message, error) {
	service, name := path.Split(method)
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(
		protoreflect.FullName(strings.Trim(service, "/") + "." + name))
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", method, err)
	}
	descriptor, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no method", method)
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.Output().FullName())
	if err != nil {
		return nil, fmt.Errorf("looking up the reply of %s: %w", method, err)
	}
	return kind.New().Interface(), nil
}

// try makes one call. It keeps the handle of the reply, and looks whether a fault says what faults must say.
func (e *env) try(method string, request proto.Message) (proto.Message, error) {
	e.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	reply, err := e.invoke(ctx, e.conn(), method, request)
	if err != nil {
		e.checkFault(method, err)
		return nil, err
	}
	e.remember(request, reply)
	return reply, nil
}

// remember keeps what an engine would keep of a reply.
func (e *env) remember(request, reply proto.Message) {
	if asked, ok := request.(*driverpb.SnapshotRequest); ok {
		switch got := reply.(type) {
		case *driverpb.VolumeReply: // a revert answers for the volume
			e.keep(asked.GetVolume(), got.GetHandle())
			return
		case *driverpb.SnapshotReply:
			if got.GetVolumeHandle() != nil {
				e.keep(asked.GetVolume(), got.GetVolumeHandle())
			}
		}
	}
	call := callOf(request)
	if holder, ok := reply.(interface{ GetHandle() *driverpb.Handle }); ok && call != nil {
		e.keep(call.GetResource(), holder.GetHandle())
	}
}

// must makes one call that has to succeed.
func must[R proto.Message](e *env, method string, request proto.Message) R {
	e.Helper()
	var want R
	reply, err := e.try(method, request)
	if err != nil {
		e.Fatalf("%s: %v", path.Base(method), err)
	}
	got, ok := reply.(R)
	if !ok {
		e.Fatalf("%s answered with %T", path.Base(method), reply)
		return want
	}
	return got
}

// undo runs at the end of the check, with a driver that is running and a call that may fail.
func (e *env) undo(method string, request func() proto.Message) {
	e.Cleanup(func() {
		if e.killed {
			e.instance.Restart(e.T)
			e.killed = false
			e.greet()
		}
		ctx, cancel := e.patience()
		defer cancel()
		if _, err := e.invoke(ctx, e.conn(), method, request()); err != nil && !e.Failed() {
			e.Logf("cleaning up by %s: %v", path.Base(method), err)
		}
	})
}

// eventually waits for a condition of the driver, as long as limit.
func (e *env) eventually(limit time.Duration, what string, holds func() bool) {
	e.Helper()
	const step = 20 * time.Millisecond
	for waited := time.Duration(0); !holds(); waited += step {
		if waited > limit {
			e.Fatalf("after %s still not: %s", limit, what)
		}
		time.Sleep(step)
	}
}
