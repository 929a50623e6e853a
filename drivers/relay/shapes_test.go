package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// shapes is a service with a method of each shape. "bad" as a message makes it fail.
func shapes() *grpc.ServiceDesc {
	type text = wrapperspb.StringValue
	answer := func(m *text) error {
		if m.GetValue() == "bad" {
			return sdk.Conflict("bad", "this is bad", "be good")
		}
		return nil
	}
	one := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		m := &text{}
		return m, errors.Join(decode(m), answer(m))
	}
	stream := func(many, each bool) grpc.StreamHandler { // many answers to the first message, or one answer to each
		return func(_ any, wire grpc.ServerStream) error {
			sum := ""
			for {
				m := &text{}
				err := wire.RecvMsg(m)
				if errors.Is(err, io.EOF) && !each && !many {
					return wire.SendMsg(wrapperspb.String(sum))
				}
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err = errors.Join(err, answer(m)); err != nil {
					return err
				}
				sum += m.GetValue()
				for i := 0; many && i < 3; i++ {
					err = errors.Join(err, wire.SendMsg(wrapperspb.String(fmt.Sprint(m.GetValue(), i))))
				}
				if each {
					err = errors.Join(err, wire.SendMsg(m))
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return &grpc.ServiceDesc{
		ServiceName: "shapes", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "One", Handler: one}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Down", Handler: stream(true, false), ServerStreams: true},
			{StreamName: "Up", Handler: stream(false, false), ClientStreams: true},
			{StreamName: "Both", Handler: stream(false, true), ClientStreams: true, ServerStreams: true},
		},
	}
}

// exchange sends all messages, receives until the end, and returns what came.
func exchange(
	t *testing.T, conn grpc.ClientConnInterface, kind *grpc.StreamDesc, messages ...string,
) (got []string, err error) {
	t.Helper()
	wire, err := conn.NewStream(bounded(t), kind, "/shapes/"+kind.StreamName)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if err := wire.SendMsg(wrapperspb.String(m)); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := wire.CloseSend(); err != nil {
		return nil, err
	}
	for {
		m := &wrapperspb.StringValue{}
		if err := wire.RecvMsg(m); errors.Is(err, io.EOF) {
			return got, nil
		} else if err != nil {
			return got, err
		}
		got = append(got, m.GetValue())
		if !kind.ServerStreams {
			return got, nil
		}
	}
}

func TestCallsOfAllShapes(t *testing.T) {
	service := shapes()
	n := &node{}
	local := connect(t, serve(t, listen(t), func(s *grpc.Server) { s.RegisterService(service, struct{}{}) }))
	n.conn = local
	far := connect(t, serve(t, listen(t), func(s *grpc.Server) { relay.RegisterService(s, n, service) }))
	farther := connect(t, serve(t, listen(t), func(s *grpc.Server) {
		relay.RegisterService(s, relay.NewRemote(far), service)
	}))
	for name, conn := range map[string]grpc.ClientConnInterface{
		"local": local, "relayed": open(t, far), "relayed twice": open(t, farther),
	} {
		reply := &wrapperspb.StringValue{}
		if err := conn.Invoke(bounded(t), "/shapes/One", wrapperspb.String("a"), reply); err != nil ||
			reply.GetValue() != "a" {
			t.Errorf("%s: One: got %v, %v", name, reply, err)
		}
		err := conn.Invoke(bounded(t), "/shapes/One", wrapperspb.String("bad"), reply)
		wantFault(t, err, driverpb.Class_CLASS_CONFLICT, "bad")
		want := []string{"[a0 a1 a2]", "[abc]", "[a b c]"}
		for i := range service.Streams {
			kind := &service.Streams[i]
			messages := []string{"a", "b", "c"}
			if !kind.ClientStreams {
				messages = messages[:1]
			}
			got, err := exchange(t, conn, kind, messages...)
			if err != nil || fmt.Sprint(got) != want[i] {
				t.Errorf("%s: %s: got %v, %v, want %v", name, kind.StreamName, got, err, want[i])
			}
			_, err = exchange(t, conn, kind, "bad")
			wantFault(t, err, driverpb.Class_CLASS_CONFLICT, "bad")
		}
	}
}

// TestAConversation: answers arrive while the caller goes on.
func TestAConversation(t *testing.T) {
	service := shapes()
	n := &node{}
	n.conn = connect(t, serve(t, listen(t), func(s *grpc.Server) { s.RegisterService(service, struct{}{}) }))
	far := connect(t, serve(t, listen(t), func(s *grpc.Server) { relay.RegisterService(s, n, service) }))
	wire, err := open(t, far).NewStream(bounded(t), &service.Streams[2], "/shapes/Both")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		sent, got := wrapperspb.String(fmt.Sprint(i)), &wrapperspb.StringValue{}
		if err := errors.Join(wire.SendMsg(sent), wire.RecvMsg(got)); err != nil || got.GetValue() != sent.GetValue() {
			t.Fatalf("message %d: got %v, %v", i, got, err)
		}
	}
	if err := errors.Join(wire.CloseSend(), wire.RecvMsg(&wrapperspb.StringValue{})); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %v", err)
	}
}
