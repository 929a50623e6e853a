package redfishpower_test

import (
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// but is a host of the emulator with some of its properties changed; a value of nil takes one away.
func (e *emulator) but(change drivertest.Properties) func(drivertest.T) drivertest.Properties {
	return func(drivertest.T) drivertest.Properties {
		properties := e.host()
		maps.Copy(properties, change)
		maps.DeleteFunc(properties, func(_ string, value any) bool { return value == nil })
		return properties
	}
}

// deaf is a host whose controller takes every order and carries out none: the emulator, with somebody in between who
// keeps the orders.
func (e *emulator) deaf(tb drivertest.T) drivertest.Properties {
	tb.Helper()
	target, err := url.Parse(e.origin())
	if err != nil {
		tb.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = e.client().Transport
	between := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	tb.Cleanup(between.Close)
	return e.through(tb, between, drivertest.Properties{"confirmSeconds": 1.0})
}

// through is a host that is reached through a server of the test.
func (e *emulator) through(
	tb drivertest.T, server *httptest.Server, change drivertest.Properties,
) drivertest.Properties {
	tb.Helper()
	properties := e.but(change)(tb)
	address, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	properties["address"], properties["port"] = address, number(tb, port)
	properties["certificateFingerprint"] = nil
	properties["caCertificate"] = authorityOf(server)
	maps.DeleteFunc(properties, func(_ string, value any) bool { return value == nil })
	return properties
}

// TestConformance runs the kit against a real emulator, which was not written for it.
func TestConformance(t *testing.T) {
	e := startEmulator(t, "127.0.0.1", 0, 0)
	const denied = driverpb.Class_CLASS_DENIED
	drivertest.Run(t, drivertest.Harness{
		Start: drivertest.Process(drivertest.ProcessOptions{}),
		OutOfBand: &drivertest.OutOfBand{
			Host:        e.but(nil),
			Secrets:     map[string]string{"password": password},
			Unconfirmed: e.deaf,
			Refused: []drivertest.BadSetting{
				{
					Name: "another host", Code: "another-host",
					Properties: e.but(drivertest.Properties{"expectedUuid": "00000000-0000-4000-8000-000000000001"}),
				},
				{
					Name: "a serial number that the controller does not tell", Code: "another-host",
					Properties: e.but(drivertest.Properties{"expectedSerial": "SN-1"}),
				},
				{
					Name: "an unknown user", Class: denied, Code: "credentials-refused",
					Properties: e.but(drivertest.Properties{"user": "nobody"}),
				},
				{
					Name: "a certificate that nobody knows", Class: denied, Code: "certificate-untrusted",
					Properties: e.but(drivertest.Properties{"certificateFingerprint": nil}),
				},
				{
					Name: "another certificate", Class: denied, Code: "certificate-untrusted",
					Properties: e.but(drivertest.Properties{"certificateFingerprint": strings.Repeat("ab", 32)}),
				},
				{
					Name: "a controller that is not there", Class: driverpb.Class_CLASS_TRANSIENT,
					Code:       "controller-unreachable",
					Properties: e.but(drivertest.Properties{"port": float64(freePort(t, "127.0.0.1"))}),
				},
				{Name: "several systems", Code: "system-ambiguous", Properties: e.but(drivertest.Properties{"systemId": nil})},
				{Name: "no such system", Code: "system-missing", Properties: e.but(drivertest.Properties{"systemId": "moon"})},
				{Name: "a path for a system", Code: "bad-property", Properties: e.but(drivertest.Properties{"systemId": "../x"})},
				{Name: "no address", Code: "bad-property", Properties: e.but(drivertest.Properties{"address": ""})},
				{
					Name: "half a fingerprint", Code: "bad-property",
					Properties: e.but(drivertest.Properties{"certificateFingerprint": "abcd"}),
				},
				{
					Name: "an authority that is no certificate", Code: "bad-property",
					Properties: e.but(drivertest.Properties{"caCertificate": "trust me"}),
				},
			},
			Powered: func(_ drivertest.T, _ *driverpb.Ref, p drivertest.Properties) bool {
				system, _ := p["systemId"].(string)
				if !strings.HasPrefix(system, "0000") {
					return true // the host was never named
				}
				return e.powerOf(system) == "On"
			},
			Cuts: func(_ drivertest.T, _ *driverpb.Ref, p drivertest.Properties) int {
				system, _ := p["systemId"].(string)
				return e.fallsOf(system)
			},
		},
	})
}

func number(tb drivertest.T, text string) float64 {
	tb.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return float64(n)
}

func authorityOf(server *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}
