package relay_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func head(tb testing.TB, method string) string {
	tb.Helper()
	encoded, err := proto.Marshal(&relaypb.Head{Product: product, Method: method})
	if err != nil {
		tb.Fatal(err)
	}
	return string(encoded)
}

// say sends a head and parts and returns how the stream ended.
func say(tb testing.TB, client relaypb.RelayClient, heads []string, parts ...*relaypb.Part) error {
	tb.Helper()
	ctx, cancel := context.WithCancel(bounded(tb))
	defer cancel()
	wire, err := client.Call(metadata.NewOutgoingContext(ctx, metadata.MD{"bulkhead-relay-bin": heads}))
	if err != nil {
		tb.Fatal(err)
	}
	for _, part := range parts {
		_ = wire.Send(part)
	}
	_ = wire.CloseSend()
	for {
		if _, err := wire.Recv(); err != nil {
			return err
		}
	}
}

func TestABrokenStreamIsRefused(t *testing.T) {
	_, l := pair(t, &backend{observe: func(ctx context.Context, _ func(*driverpb.Observed) error) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	client := relaypb.NewRelayClient(l)
	describe, observe := head(t, driverpb.Base_Describe_FullMethodName), head(t, driverpb.Base_Observe_FullMethodName)
	request, err := proto.Marshal(&driverpb.ObserveRequest{Call: call("", "v")})
	if err != nil {
		t.Fatal(err)
	}
	mebibyte := &relaypb.Part{Data: make([]byte, 1<<20), More: true}
	endless := []*relaypb.Part{mebibyte, mebibyte, mebibyte, mebibyte, mebibyte}
	end := &relaypb.Part{Sign: relaypb.Part_SIGN_END}
	for name, c := range map[string]struct {
		heads []string
		parts []*relaypb.Part
		code  string
	}{
		"no head":               {nil, nil, "head-invalid"},
		"two heads":             {[]string{describe, describe}, nil, "head-invalid"},
		"no protobuf":           {[]string{"\xff"}, nil, "head-invalid"},
		"no request":            {[]string{describe}, []*relaypb.Part{end}, "message-missing"},
		"endless message":       {[]string{describe}, endless, "message-too-large"},
		"unknown sign":          {[]string{describe}, []*relaypb.Part{{Sign: 99}}, "sign-unknown"},
		"message after the end": {[]string{observe}, []*relaypb.Part{{Data: request}, end, {}}, "message-unexpected"},
	} {
		if fault := sdk.FaultOf(say(t, client, c.heads, c.parts...)); fault.GetCode() != c.code {
			t.Errorf("%s: got %v, want %s", name, fault, c.code)
		}
	}
	for name, parts := range map[string][]*relaypb.Part{
		"left at once":      {{Sign: relaypb.Part_SIGN_LEAVE}},
		"lost at once":      nil,
		"lost in a message": {{Data: []byte("x"), More: true}},
		"left in a message": {{Data: []byte("x"), More: true}, {Sign: relaypb.Part_SIGN_LEAVE}},
	} {
		if err := say(t, client, []string{describe}, parts...); err == nil {
			t.Errorf("%s: it went well", name)
		}
	}
}

// FuzzCall: whatever another node sends, it gets an answer.
func FuzzCall(f *testing.F) {
	_, l := pair(f, &backend{observe: func(context.Context, func(*driverpb.Observed) error) error { return nil }})
	client := relaypb.NewRelayClient(l)
	for _, method := range []string{driverpb.Base_Describe_FullMethodName, driverpb.Base_Observe_FullMethodName, ""} {
		f.Add(head(f, method), []byte{}, uint16(0))
		f.Add(head(f, method), []byte("\x0a\x00"), uint16(0x11))
	}
	f.Fuzz(func(t *testing.T, head string, data []byte, what uint16) {
		var parts []*relaypb.Part
		for ; what != 0; what >>= 3 {
			parts = append(parts, &relaypb.Part{Data: data, More: what&1 != 0, Sign: relaypb.Part_Sign(what >> 1 & 3)})
		}
		err := say(t, client, []string{head}, parts...)
		if status.Code(err) == codes.Unavailable {
			t.Errorf("the other node is gone: %v", err)
		}
	})
}
