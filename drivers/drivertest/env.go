package drivertest

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	testing.TB
	harness  *Harness
	instance Instance
	killed   bool
	handles  map[string]*driverpb.Handle // by kind/id
	opened   []scope
	tokens   int
	epoch    uint64
	run      string // makes ids and tokens of this check differ from all others
}

// scope is a pool, store, host or network with the properties it was opened with.
type scope struct {
	ref        *driverpb.Ref
	properties Properties
	secrets    map[string]string
}

// newEnv starts the driver and greets it as an engine does.
func newEnv(tb testing.TB, h *Harness) *env {
	tb.Helper()
	e := &env{
		TB: tb, harness: h, instance: h.Start(tb),
		handles: map[string]*driverpb.Handle{}, run: randomName(), epoch: 1,
	}
	e.greet()
	return e
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
	base := driverpb.NewBaseClient(e.instance.Conn())
	if _, err := base.Hello(ctx, &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1, Instance: "kit"}); err != nil {
		e.Fatalf("hello: %v", err)
	}
	request := &driverpb.ConfigureRequest{Properties: e.structOf(e.harness.Properties), Secrets: e.harness.Secrets}
	if _, err := base.Configure(ctx, request); err != nil {
		e.Fatalf("configure: %v", err)
	}
}

// kill ends the process as kill -9 does.
func (e *env) kill() {
	e.Helper()
	e.killed = true
	e.instance.Kill(e.TB)
}

// restart starts the process again after a kill.
func (e *env) restart() {
	e.Helper()
	e.instance.Restart(e.TB)
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
	reply, err := driverpb.NewBaseClient(e.instance.Conn()).Describe(ctx, &driverpb.DescribeRequest{})
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
	e.tokens++
	prefix := map[string]string{
		"volume": "vol", "snapshot": "snap", "machine": "mac", "network": "net", "template": "tpl",
		"image-store": "ist",
	}[kind]
	if prefix == "" {
		prefix = kind
	}
	return &driverpb.Ref{Kind: kind, Id: fmt.Sprintf("%s-%s%02d", prefix, e.run, e.tokens)}
}

// token makes a token no call of this check has had.
func (e *env) token() string {
	e.tokens++
	return fmt.Sprintf("op-%s/%d", e.run, e.tokens)
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
	merged, secrets := Properties{}, map[string]string{}
	maps.Copy(merged, e.harness.Properties)
	maps.Copy(merged, in.properties)
	maps.Copy(secrets, e.harness.Secrets)
	maps.Copy(secrets, in.secrets)
	return &driverpb.Call{
		Token: e.token(), Resource: ref, Epoch: e.epoch, Handle: e.handles[nameOf(ref)], Properties: e.structOf(merged),
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
	call.Token, call.Handle = e.token(), e.handles[nameOf(call.GetResource())]
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
	ctx context.Context, conn *grpc.ClientConn, method string, request proto.Message,
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
	reply, err := e.invoke(ctx, e.instance.Conn(), method, request)
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
			e.handles[nameOf(asked.GetVolume())] = got.GetHandle()
			return
		case *driverpb.SnapshotReply:
			if got.GetVolumeHandle() != nil {
				e.handles[nameOf(asked.GetVolume())] = got.GetVolumeHandle()
			}
		}
	}
	call := callOf(request)
	if holder, ok := reply.(interface{ GetHandle() *driverpb.Handle }); ok && call != nil {
		e.handles[nameOf(call.GetResource())] = holder.GetHandle()
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

var codeSyntax = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// fieldSyntax has what the API calls fields (camel case), properties by their keys, and what is below /call.
var fieldSyntax = regexp.MustCompile(`^(/call/.+|/properties/.+|(/([a-z][a-zA-Z0-9]*|[0-9]+))*)$`)

// checkFault looks whether an error carries a fault with class, code and words.
func (e *env) checkFault(method string, err error) {
	e.Helper()
	fault := faultOf(err)
	switch {
	case fault == nil && status.Code(err) == codes.Unimplemented:
		e.Errorf("%s: status UNIMPLEMENTED without a Fault; a category that is served refuses with CLASS_UNSUPPORTED",
			path.Base(method))
	case fault == nil:
		e.Errorf("%s: error without a Fault: %v", path.Base(method), err)
	case fault.GetClass() == driverpb.Class_CLASS_UNSPECIFIED:
		e.Errorf("%s: fault without a class: %v", path.Base(method), fault)
	case !codeSyntax.MatchString(fault.GetCode()):
		e.Errorf("%s: fault code %q is not kebab-case", path.Base(method), fault.GetCode())
	case fault.GetMessage() == "":
		e.Errorf("%s: fault %s without words", path.Base(method), fault.GetCode())
	case !fieldSyntax.MatchString(fault.GetField()):
		e.Errorf("%s: fault field %q is not a JSON pointer into a spec, in the API's words", path.Base(method),
			fault.GetField())
	}
	secrets := slices.Collect(maps.Values(e.harness.Secrets))
	if e.harness.OutOfBand != nil {
		secrets = slices.AppendSeq(secrets, maps.Values(e.harness.OutOfBand.Secrets))
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(fault.GetMessage()+fault.GetRemedy(), secret) {
			e.Errorf("%s: a secret is in the words of fault %s", path.Base(method), fault.GetCode())
		}
	}
}

func faultOf(err error) *driverpb.Fault {
	for _, detail := range status.Convert(err).Details() {
		if fault, ok := detail.(*driverpb.Fault); ok {
			return fault
		}
	}
	return nil
}

// refused makes one call that has to fail with a class, and returns the fault.
func (e *env) refused(class driverpb.Class, method string, request proto.Message) *driverpb.Fault {
	e.Helper()
	_, err := e.try(method, request)
	if err == nil {
		e.Fatalf("%s succeeded, want %s", path.Base(method), class)
	}
	fault := faultOf(err)
	if fault.GetClass() != class {
		e.Fatalf("%s: %v; want %s", path.Base(method), err, class)
	}
	switch class { //nolint:exhaustive // the others need no remedy
	case driverpb.Class_CLASS_CONFLICT, driverpb.Class_CLASS_EXHAUSTED, driverpb.Class_CLASS_DENIED:
		if fault.GetRemedy() == "" {
			e.Errorf("%s: fault %s says no remedy, but an operator can do something", path.Base(method), fault.GetCode())
		}
	}
	return fault
}

// undo runs at the end of the check, with a driver that is running and a call that may fail.
func (e *env) undo(method string, request func() proto.Message) {
	e.Cleanup(func() {
		if e.killed {
			e.instance.Restart(e.TB)
			e.killed = false
			e.greet()
		}
		ctx, cancel := e.patience()
		defer cancel()
		if _, err := e.invoke(ctx, e.instance.Conn(), method, request()); err != nil && !e.Failed() {
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
