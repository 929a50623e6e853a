package ipmipower_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/ipmipower"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/ipmipower/ipmisim"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func request(tb drivertest.T, properties map[string]any) *driverpb.PowerRequest {
	tb.Helper()
	made, err := structpb.NewStruct(properties)
	if err != nil {
		tb.Fatal(err)
	}
	return &driverpb.PowerRequest{Call: &driverpb.Call{
		Token: "op-1/1", Resource: &driverpb.Ref{Kind: "host", Id: "host-1"}, Epoch: 1, Properties: made,
		Secrets: map[string]string{"password": ipmisim.Password},
	}}
}

func newDriver(tb drivertest.T) sdk.Driver {
	tb.Helper()
	d, err := ipmipower.New(sdk.Environment{WorkDir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// TestOffWaitsUntilItIsOff: a host takes its time to go off, and its controller says on until then.
func TestOffWaitsUntilItIsOff(t *testing.T) {
	t.Parallel()
	b := startBMC(t)
	b.Put("delay", strconv.FormatInt(int64(1500*time.Millisecond), 10))
	reply, err := newDriver(t).OutOfBand.PowerOff(t.Context(), request(t, b.properties()))
	if err != nil || b.powered() || b.cuts() != 1 || reply.GetFacts()["uuid"] != ipmisim.HostUUID {
		t.Errorf("%v, %v; the host is on: %t, after %d cuts", reply, err, b.powered(), b.cuts())
	}
}

// TestAControllerLostOnTheWayIsUnknown: it goes down with the host, and nobody can say that the host is off.
func TestAControllerLostOnTheWayIsUnknown(t *testing.T) {
	t.Parallel()
	b := startBMC(t)
	b.Put("chassis", strings.Replace(chassis, "fall() {\n", "fall() {\n\tkill -9 $(cat pid)\n", 1))
	properties := b.properties()
	properties["confirmSeconds"], properties["requestSeconds"] = 3.0, 3.0
	reply, err := newDriver(t).OutOfBand.PowerOff(t.Context(), request(t, properties))
	fault := sdk.FaultOf(err)
	if fault.GetCode() != "power-unconfirmed" || fault.GetClass() != driverpb.Class_CLASS_UNKNOWN {
		t.Errorf("%v, %v", reply, err)
	}
}

func TestTheSerialNumberIsAskedFor(t *testing.T) {
	t.Parallel()
	b := startBMC(t)
	properties := b.properties()
	properties["expectedSerial"] = strings.ToLower(ipmisim.Serial)
	reply, err := newDriver(t).OutOfBand.StatPower(t.Context(), request(t, properties))
	if err != nil || reply.GetFacts()["model"] != "Metal 1" || reply.GetFacts()["manufacturer"] != "Acme" {
		t.Errorf("%v, %v", reply, err)
	}
}

func TestAWrongPasswordIsRefused(t *testing.T) {
	t.Parallel()
	b := startBMC(t)
	asked := request(t, b.properties())
	asked.Call.Secrets["password"] = "wrong-and-secret"
	_, err := newDriver(t).OutOfBand.PowerOff(t.Context(), asked)
	fault := sdk.FaultOf(err)
	if fault.GetClass() != driverpb.Class_CLASS_DENIED || fault.GetCode() != "credentials-refused" || !b.powered() ||
		strings.Contains(fault.String(), "wrong-and-secret") {
		t.Errorf("got %v; the host is on: %t", err, b.powered())
	}
}

// TestThePasswordIsOutOfSight looks at an ipmitool that waits for its controller, as any user of the host could.
func TestThePasswordIsOutOfSight(t *testing.T) {
	t.Parallel()
	b := startBMC(t)
	pid, err := strconv.Atoi(strings.TrimSpace(b.Get("pid")))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := newDriver(t).OutOfBand.StatPower(ctx, request(t, b.properties()))
		done <- err
	}()
	seen := false
	for !seen && ctx.Err() == nil {
		seen = inspect(t, fmt.Sprint(b.Port))
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !seen {
		t.Errorf("asking ended with %v; ipmitool was seen: %t", err, seen)
	}
}

// inspect looks for the ipmitool that asks at a port, and for the password on it.
func inspect(t *testing.T, port string) (seen bool) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		arguments, _ := os.ReadFile(process + "/cmdline")
		if !bytes.Contains(arguments, []byte("ipmitool\x00")) || !bytes.Contains(arguments, []byte("-p\x00"+port+"\x00")) {
			continue
		}
		seen = true
		environment, _ := os.ReadFile(process + "/environ")
		if bytes.Contains(arguments, []byte(ipmisim.Password)) || bytes.Contains(environment, []byte(ipmisim.Password)) {
			t.Error("the password is in the arguments or the environment of ipmitool")
		}
	}
	return seen
}

// TestInsideTheSandbox runs the driver as a host does: as a user of its own, confined to what its manifest says,
// ipmitool with it.
func TestInsideTheSandbox(t *testing.T) {
	t.Parallel()
	b := startBMC(t)
	directory := t.TempDir()
	for _, path := range []string{filepath.Dir(directory), directory} {
		if err := os.Chmod(path, 0o711); err != nil { //nolint:gosec // other users must get in
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.Open(host.Config{StateDir: filepath.Join(directory, "host")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	instance, err := h.Start(t.Context(), ipmipower.Manifest(self), host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(context.WithoutCancel(t.Context()), instance.Name()); err != nil {
			t.Errorf("stopping the driver: %v", err)
		}
	})
	if err := instance.Await(t.Context(), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	t.Logf("isolation %s, missing %+v", instance.Report().Level, instance.Report().Missing)
	properties := b.properties()
	properties["address"], properties["expectedSerial"] = "localhost", ipmisim.Serial
	reply, err := driverpb.NewOutOfBandClient(instance.Conn()).PowerOff(t.Context(), request(t, properties))
	if err != nil || reply.GetPower() != driverpb.Power_POWER_OFF || b.powered() {
		log, _ := instance.LogTail(1 << 12)
		t.Errorf("%v, %v; the host is on: %t\n%s", reply, err, b.powered(), log)
	}
}
