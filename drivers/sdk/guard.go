package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// guard stands before the driver's methods: names, fence, tokens, one mutating call per resource, panics, faults.
type guard struct {
	driver *Driver
	log    *slog.Logger
	token  string
	fence  *fence
	turns  Turns[resourceKey]
	memory *tokenMemory
	busy   *activity
}

func newGuard(driver *Driver, log *slog.Logger, token string) *guard {
	return &guard{
		driver: driver, log: log, token: token,
		fence:  newFence(fenceMemory),
		memory: newTokenMemory(rememberedCalls, rememberedBytes),
		busy:   newActivity(),
	}
}

// unary is the interceptor of all calls with one answer.
func (g *guard) unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	if err := checkToken(ctx, g.token); err != nil {
		return nil, err
	}
	about, ok := request.(Request)
	if !ok {
		secrets := map[string]string(nil)
		if holder, ok := request.(interface{ GetSecrets() map[string]string }); ok {
			secrets = holder.GetSecrets()
		}
		return g.protect(ctx, info.FullMethod, secrets, func() (any, error) { return handler(ctx, request) })
	}
	if err := g.admit(info.FullMethod, about); err != nil {
		return nil, err
	}
	if Reads(info.FullMethod) {
		secrets := about.GetCall().GetSecrets()
		return g.protect(ctx, info.FullMethod, secrets, func() (any, error) { return handler(ctx, request) })
	}
	return g.once(ctx, about, info.FullMethod, handler)
}

// stream is the interceptor of calls with streams: Observe and Attend.
func (g *guard) stream(
	server any, wire grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	if err := checkToken(wire.Context(), g.token); err != nil {
		return err
	}
	_, err := g.protect(wire.Context(), info.FullMethod, nil, func() (any, error) {
		return nil, handler(server, wire)
	})
	return err
}

// admit checks names and fence of a call about a resource.
func (g *guard) admit(method string, request Request) error {
	if err := g.driver.checkRequest(method, request); err != nil {
		return err
	}
	if request.GetCall().GetResource().GetId() == "" {
		return nil // a probe of the process
	}
	return g.fence.admit(request.GetCall())
}

// once executes a mutating call, or joins the execution with the same token, or answers from memory.
func (g *guard) once(ctx context.Context, request Request, method string, handler grpc.UnaryHandler) (any, error) {
	shape, err := fingerprint(request)
	if err != nil {
		return nil, Internal("fingerprint", err)
	}
	call := request.GetCall()
	key := callKey{token: call.GetToken(), method: method, resource: keyOf(call.GetResource())}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if until, ok := ctx.Deadline(); ok {
		inner = context.WithValue(inner, deadlineKey{}, until)
	}
	work, first, again, err := g.memory.begin(key, shape, cancel)
	for errors.Is(err, errAbandoned) {
		select {
		case <-work.done:
			work, first, again, err = g.memory.begin(key, shape, cancel)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		cancel()
		return nil, err
	}
	if !first {
		cancel()
		return g.memory.wait(ctx, work)
	}
	finish, ok := g.busy.start(cancel)
	if !ok {
		cancel()
		g.memory.end(work, nil, &driverpb.Fault{
			Class: driverpb.Class_CLASS_TRANSIENT, Code: "shutting-down", Message: "the driver is shutting down",
		})
		return g.memory.wait(ctx, work)
	}
	call.Repeat = call.GetRepeat() || again
	go func() { // ends with the driver's method; activity waits for it
		defer finish()
		defer cancel()
		reply, err := g.execute(inner, work, request, handler)
		message, _ := reply.(proto.Message)
		g.memory.end(work, message, toFault(err))
	}()
	return g.memory.wait(ctx, work)
}

// execute waits for the resource's turn and calls the driver.
func (g *guard) execute(ctx context.Context, work *work, request Request, handler grpc.UnaryHandler) (any, error) {
	call := request.GetCall()
	g.memory.progress(work, 0, "waiting for another call on this resource")
	leave, err := g.turns.Take(ctx, work.key.resource)
	if err != nil {
		return nil, Transient("resource-busy", "another call on this resource did not end in time; nothing was done")
	}
	defer leave()
	g.memory.progress(work, 0, "")
	if err := g.fence.admit(call); err != nil { // a newer owner may have come while this call waited
		return nil, err
	}
	ctx = context.WithValue(ctx, progressKey{}, progressFunc(func(percent uint32, message string) {
		g.memory.progress(work, percent, redact(message, call.GetSecrets()))
	}))
	return g.protect(ctx, work.key.method, call.GetSecrets(), func() (any, error) { return handler(ctx, request) })
}

// protect turns panics and errors of the driver into faults, without the call's secrets in their words.
func (g *guard) protect(
	ctx context.Context, method string, secrets map[string]string, run func() (any, error),
) (reply any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			g.log.ErrorContext(ctx, "driver panicked",
				slog.String("method", method),
				slog.String("cause", redact(fmt.Sprint(cause), secrets)),
				slog.String("stack", string(debug.Stack())))
			reply, err = nil, newFault(&driverpb.Fault{
				Class: driverpb.Class_CLASS_INTERNAL, Code: "panic",
				Message: redact(fmt.Sprint("the driver panicked: ", cause), secrets),
			})
		}
	}()
	reply, err = run()
	if err == nil {
		err = checkReply(reply)
	}
	if err == nil {
		return reply, nil
	}
	fault, _ := proto.Clone(toFault(err)).(*driverpb.Fault)
	fault.Message = redact(fault.GetMessage(), secrets)
	fault.Remedy = redact(fault.GetRemedy(), secrets)
	hidden := &faultError{fault: fault}
	if own, ok := errors.AsType[*faultError](err); ok {
		hidden.code = own.code
	}
	return nil, hidden
}

// checkReply refuses a handle that the contract does not allow.
func checkReply(reply any) error {
	holder, ok := reply.(interface{ GetHandle() *driverpb.Handle })
	if ok && len(holder.GetHandle().GetData()) > MaxHandleBytes {
		return Internal("handle-too-large",
			fmt.Errorf("the handle has %d bytes, %d are allowed", len(holder.GetHandle().GetData()), MaxHandleBytes))
	}
	return nil
}
