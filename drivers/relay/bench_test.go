package relay_test

import (
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
)

// BenchmarkCall compares a call on the driver's own socket with one through another node, over TCP on the loopback.
func BenchmarkCall(b *testing.B) {
	n := drive(b, &backend{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	far := connect(b, serve(b, listener, func(s *grpc.Server) { relay.Register(s, n, nil) }))
	for _, size := range []struct {
		name  string
		bytes int
	}{{"small", 64}, {"64KiB", 63 << 10}} {
		request := &driverpb.VolumeRequest{Call: call("", "v")}
		request.Call.Handle = &driverpb.Handle{Data: []byte(strings.Repeat("h", size.bytes))}
		for _, way := range []struct {
			name string
			conn grpc.ClientConnInterface
		}{{"local", n.conn}, {"relayed", open(b, far)}} {
			storage := driverpb.NewStorageClient(way.conn)
			b.Run(size.name+"/"+way.name+"/one", func(b *testing.B) {
				ctx := bounded(b)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := storage.StatVolume(ctx, request); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(size.name+"/"+way.name+"/parallel", func(b *testing.B) {
				ctx := bounded(b)
				b.SetParallelism(32)
				b.ReportAllocs()
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if _, err := storage.StatVolume(ctx, request); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
