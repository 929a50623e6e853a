package relay_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
)

func TestNewsOfAStartArrive(t *testing.T) {
	var heard []string
	var answer error
	far := connect(t, serve(t, listen(t), func(s *grpc.Server) {
		relay.RegisterNews(s, func(_ context.Context, product, version string) error {
			heard = append(heard, product+"@"+version)
			return answer
		})
	}))
	if err := relay.TellStarted(t.Context(), far, "a/b", "1.2.3"); err != nil {
		t.Error(err)
	}
	answer = errors.New("not now")
	if err := relay.TellStarted(t.Context(), far, "c/d", ""); err == nil {
		t.Error("what the other node answered is not told")
	}
	if len(heard) != 2 || heard[0] != "a/b@1.2.3" || heard[1] != "c/d@" {
		t.Errorf("heard %q", heard)
	}
}
