package drivertest_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// accessKey is the secret of the simulated pools.
const accessKey = "kit-0123456789-secret"

type truth struct{ follower *simworld.Follower }

func (o truth) load(tb drivertest.T) *simworld.Truth {
	tb.Helper()
	found, err := o.follower.Truth()
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

func (o truth) Count(tb drivertest.T, kind, id string) int {
	tb.Helper()
	return o.load(tb).Count(kind, id)
}

func (o truth) Effects(tb drivertest.T, token string) int {
	tb.Helper()
	return len(o.load(tb).EffectsBy(token))
}

// simulator is a harness for drivers made of the simulator, in memory and virtual time.
func simulator(
	t *testing.T, world *simworld.World, newDriver func(sdk.Environment) (sdk.Driver, error),
) drivertest.Harness {
	t.Helper()
	follower, err := world.Follow()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(follower.Close)
	looks := truth{follower}
	return drivertest.Harness{
		Start: drivertest.InMemory(newDriver),
		// Half of a call's time is after its effect, so that disturbances hit either side.
		Properties: map[string]any{"latency": "*=2s", "faults": "action=delay at=after for=2s"},
		Truth:      looks,
		Virtual:    true,
		Storage: &drivertest.Storage{
			Secrets: map[string]string{"accessKey": accessKey},
			Pool:    func(drivertest.T) drivertest.Properties { return nil },
			Write: func(tb drivertest.T, disk *driverpb.Disk, data []byte) {
				tb.Helper()
				key, _ := simworld.KeyAt(simworld.KindVolume, disk.GetPath())
				if err := world.Write(key, string(bytes.TrimRight(data, "\x00"))); err != nil {
					tb.Fatal(err)
				}
			},
			Read: func(tb drivertest.T, disk *driverpb.Disk, n int) []byte {
				tb.Helper()
				key, _ := simworld.KeyAt(simworld.KindVolume, disk.GetPath())
				content, err := world.Read(key)
				if err != nil {
					tb.Fatal(err)
				}
				return append([]byte(content), make([]byte, n)...)[:n]
			},
		},
		Images: &drivertest.Images{
			Store: func(drivertest.T) drivertest.Properties { return nil },
			Good: func(drivertest.T) *driverpb.ImportTemplateRequest {
				return &driverpb.ImportTemplateRequest{
					Format: "raw", Source: &driverpb.ImportTemplateRequest_Upload{Upload: "sim:a?checksum=sha256:0a"},
				}
			},
		},
		Hypervisor: &drivertest.Hypervisor{
			Host: func(drivertest.T) drivertest.Properties { return nil },
			Machine: func(drivertest.T, string) *driverpb.MachineSpec {
				return &driverpb.MachineSpec{Name: "guest", Cpus: 1, MemoryBytes: 1 << 20}
			},
		},
		Networks: &drivertest.Networks{
			Spec: func(drivertest.T) *driverpb.NetworkSpec {
				return &driverpb.NetworkSpec{Mode: "nat", Cidr: "10.0.0.0/24"}
			},
			Nic: func(_ drivertest.T, _ *driverpb.NetworkSpec, n int) *driverpb.NicSpec {
				return &driverpb.NicSpec{
					Machine: &driverpb.Ref{Kind: "machine", Id: "mac-1"},
					Mac:     fmt.Sprintf("02:00:00:00:00:%02x", n), Address: fmt.Sprintf("10.0.0.%d", 10+n),
				}
			},
		},
		OutOfBand: &drivertest.OutOfBand{
			Host: func(drivertest.T) drivertest.Properties { return nil },
			Unconfirmed: func(drivertest.T) drivertest.Properties {
				return drivertest.Properties{"controller": "ignores"}
			},
			Refused: []drivertest.BadSetting{{
				Name: "another host", Code: "another-host",
				Properties: func(drivertest.T) drivertest.Properties {
					return drivertest.Properties{"expectedUuid": "00000000-0000-4000-8000-000000000001"}
				},
			}},
			Powered: func(tb drivertest.T, host *driverpb.Ref, _ drivertest.Properties) bool {
				tb.Helper()
				return looks.load(tb).Powered(host.GetId())
			},
			Cuts: func(tb drivertest.T, host *driverpb.Ref, _ drivertest.Properties) int {
				tb.Helper()
				return looks.load(tb).Cuts(host.GetId())
			},
		},
	}
}

// forgetful is an instance whose host and driver talk through something that spoils calls: what a driver looks like
// that does not use the SDK and forgets a rule.
type forgetful struct {
	world  *simworld.World
	spoil  func(method string, call *driverpb.Call)
	conn   *grpc.ClientConn
	cancel context.CancelFunc
	served chan error

	listener *bufconn.Listener
}

func (f *forgetful) Conn() grpc.ClientConnInterface { return f.conn }

func (f *forgetful) Kill(tb drivertest.T) {
	tb.Helper()
	if f.cancel == nil {
		return
	}
	_ = f.conn.Close()
	f.cancel()
	if err := <-f.served; err != nil {
		tb.Error(err)
	}
	f.cancel = nil
}

func (f *forgetful) Restart(tb drivertest.T) {
	tb.Helper()
	f.Kill(tb)
	listener := bufconn.Listen(1 << 16)
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel, f.served = cancel, make(chan error, 1)
	served := f.served
	go func() { served <- sdk.ServeListener(ctx, listener, sim.NewDriver(f.world, sim.Options{}), nil) }()
	f.listener = listener
	f.connect(tb)
}

// Cut implements drivertest.Instance.
func (f *forgetful) Cut(tb drivertest.T) {
	tb.Helper()
	_ = f.conn.Close()
	f.connect(tb)
}

func (f *forgetful) connect(tb drivertest.T) {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:memory",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.listener.DialContext(ctx) }),
		grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
			options ...grpc.CallOption,
		) error {
			if about, ok := request.(interface{ GetCall() *driverpb.Call }); ok && about.GetCall() != nil {
				spoiled, _ := request.(proto.Message)
				spoiled = proto.Clone(spoiled)
				about, _ = spoiled.(interface{ GetCall() *driverpb.Call })
				f.spoil(method, about.GetCall())
				request = spoiled
			}
			return invoke(ctx, method, request, reply, conn, options...)
		}))
	if err != nil {
		tb.Fatal(err)
	}
	f.conn = conn
}
