package redfishpower_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/redfishpower"
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
		Secrets: map[string]string{"password": password},
	}}
}

func newDriver(tb drivertest.T) sdk.Driver {
	tb.Helper()
	d, err := redfishpower.New(sdk.Environment{WorkDir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// TestSlowHosts: the emulator's hosts take one to eleven seconds to go off, and say on until then. Orders whose
// answers are lost are found out about; controllers that are lost with the order are unknown.
func TestSlowHosts(t *testing.T) {
	e := startEmulator(t, "127.0.0.1", 0, 11)
	t.Run("off waits until it is off", func(t *testing.T) {
		t.Parallel()
		properties := e.but(map[string]any{"certificateFingerprint": nil, "caCertificate": string(e.certificate)})(t)
		reply, err := newDriver(t).OutOfBand.PowerOff(t.Context(), request(t, properties))
		if system, _ := properties["systemId"].(string); err != nil || e.powerOf(system) != "Off" || e.fallsOf(system) != 1 {
			t.Errorf("%v, %v; the host is %s", reply, err, e.powerOf(system))
		}
	})
	for _, test := range []struct {
		name  string
		after int64 // orders after which nothing is answered any more
		want  driverpb.Class
	}{
		{"the answer to an order is lost", 2, driverpb.Class_CLASS_UNSPECIFIED},
		{"the controller is lost with the order", 1, driverpb.Class_CLASS_UNKNOWN},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			between := e.cutting(t, test.after)
			properties := e.through(t, between, map[string]any{"confirmSeconds": 20.0})
			if test.want == driverpb.Class_CLASS_UNKNOWN {
				properties["confirmSeconds"] = 2.0
			}
			reply, err := newDriver(t).OutOfBand.PowerOff(t.Context(), request(t, properties))
			if sdk.FaultOf(err).GetClass() != test.want {
				t.Errorf("%v, %v; want %s", reply, err, test.want)
			}
			system, _ := properties["systemId"].(string)
			if err == nil && e.powerOf(system) != "Off" {
				t.Errorf("the host is %s", e.powerOf(system))
			}
		})
	}
}

// cutting is a server in front of the emulator that passes orders on and cuts the connection instead of answering
// them. After so many orders it answers nothing at all.
func (e *emulator) cutting(tb drivertest.T, after int64) *httptest.Server {
	tb.Helper()
	target, err := url.Parse(e.origin())
	if err != nil {
		tb.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = e.client().Transport
	var orders atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			orders.Add(1)
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case orders.Load() >= after:
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	tb.Cleanup(server.Close)
	return server
}

// scripted is a controller with one system that says what it is told to.
type scripted struct {
	state   string
	allowed []string
	orders  atomic.Int64
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const at = "/redfish/v1/Systems/1"
	switch {
	case r.Method == http.MethodPost:
		s.orders.Add(1)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Path == at:
		reset := map[string]any{"target": at + "/Actions/Reset"}
		if s.allowed != nil {
			reset["ResetType@Redfish.AllowableValues"] = s.allowed
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"PowerState": s.state, "Actions": map[string]any{"#ComputerSystem.Reset": reset},
		})
	default:
		_, _ = fmt.Fprintf(w, `{"Members": [{"@odata.id": %q}]}`, at)
	}
}

func to(tb drivertest.T, server *httptest.Server) map[string]any {
	tb.Helper()
	address, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	return map[string]any{
		"address": address, "port": number(tb, port), "user": "root", "caCertificate": authorityOf(server),
		"confirmSeconds": 1.0,
	}
}

// TestOnTheWayIsNotOff: a host that is powering off is not off.
func TestOnTheWayIsNotOff(t *testing.T) {
	server := httptest.NewTLSServer(&scripted{state: "PoweringOff"})
	defer server.Close()
	d := newDriver(t)
	reply, err := d.OutOfBand.StatPower(t.Context(), request(t, to(t, server)))
	if err != nil || reply.GetPower() != driverpb.Power_POWER_UNKNOWN {
		t.Errorf("%v, %v", reply, err)
	}
	_, err = d.OutOfBand.PowerOff(t.Context(), request(t, to(t, server)))
	if sdk.FaultOf(err).GetClass() != driverpb.Class_CLASS_UNKNOWN {
		t.Errorf("off while it is powering off: %v", err)
	}
}

func TestWhatIsNotAllowedIsNotOrdered(t *testing.T) {
	controller := &scripted{state: "On", allowed: []string{"On", "GracefulRestart"}}
	server := httptest.NewTLSServer(controller)
	defer server.Close()
	_, err := newDriver(t).OutOfBand.PowerOff(t.Context(), request(t, to(t, server)))
	if fault := sdk.FaultOf(err); fault.GetCode() != "action-unsupported" || controller.orders.Load() != 0 {
		t.Errorf("%v after %d orders", err, controller.orders.Load())
	}
}

// TestThePasswordStaysWithTheController: who is sent elsewhere does not take it along.
func TestThePasswordStaysWithTheController(t *testing.T) {
	var asked atomic.Int64
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
	}))
	defer server.Close()
	_, err := newDriver(t).OutOfBand.StatPower(t.Context(), request(t, to(t, server)))
	if sdk.FaultOf(err).GetCode() != "controller-unreachable" || asked.Load() != 0 {
		t.Errorf("%v; somebody else was asked %d times", err, asked.Load())
	}
}

// TestInsideTheSandbox runs the driver as a host does: as a user of its own, confined to what its manifest says.
func TestInsideTheSandbox(t *testing.T) {
	const address, port = "127.83.70.1", 8443
	e := startEmulator(t, address, port, 0)
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
	instance, err := h.Start(t.Context(), redfishpower.Manifest(self), host.Setup{})
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
	properties := e.host()
	system, _ := properties["systemId"].(string)
	power := driverpb.NewOutOfBandClient(instance.Conn())
	for _, cycle := range []bool{true, false} {
		asked := request(t, properties)
		ask := power.PowerOff
		if cycle {
			ask, asked.Call.Token = power.CyclePower, "op-2/1"
		}
		if reply, err := ask(t.Context(), asked); err != nil {
			log, _ := instance.LogTail(1 << 12)
			t.Fatalf("%v, %v\n%s", reply, err, log)
		}
	}
	if e.powerOf(system) != "Off" || e.fallsOf(system) != 2 {
		t.Errorf("the host is %s after %d cuts, want off after 2", e.powerOf(system), e.fallsOf(system))
	}
}

func FuzzDocuments(f *testing.F) {
	for _, seed := range []string{
		`{"PowerState": "Off"}`, `{"PowerState": "PoweringOff"}`, `{"PowerState": null, "Actions": []}`,
		`{"error": {"message": "a\nb", "@Message.ExtendedInfo": [{"Message": "c"}]}}`, "{", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if said := redfishpower.Complaint(document); !utf8.ValidString(said) || strings.ContainsAny(said, "\r\n") {
			t.Errorf("a complaint is %q", said)
		}
		power, err := redfishpower.PowerIn(document)
		if err == nil && power == driverpb.Power_POWER_OFF && !strings.Contains(string(document), "f") &&
			!strings.Contains(string(document), `\u`) {
			t.Errorf("%q says off", document)
		}
	})
}
