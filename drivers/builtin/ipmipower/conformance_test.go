package ipmipower_test

import (
	"maps"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/ipmipower/ipmisim"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// rack is the controllers of one run of the kit.
type rack struct {
	mutex sync.Mutex
	bmcs  map[int]*bmc
}

func (r *rack) add(tb drivertest.T) *bmc {
	tb.Helper()
	b := startBMC(tb)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.bmcs[b.Port] = b
	return b
}

func (r *rack) at(tb drivertest.T, p drivertest.Properties) *bmc {
	tb.Helper()
	r.mutex.Lock()
	defer r.mutex.Unlock()
	port, _ := p["port"].(float64)
	if r.bmcs[int(port)] == nil {
		tb.Fatalf("there is no controller at %v", p["port"])
	}
	return r.bmcs[int(port)]
}

// but is a host with some of its properties changed.
func (r *rack) but(change drivertest.Properties) func(drivertest.T) drivertest.Properties {
	return func(tb drivertest.T) drivertest.Properties {
		tb.Helper()
		properties := r.add(tb).properties()
		maps.Copy(properties, change)
		return properties
	}
}

// TestConformance runs the kit against real controllers: ipmi_sim's.
func TestConformance(t *testing.T) {
	t.Parallel()
	r := &rack{bmcs: map[int]*bmc{}}
	const denied, invalid = driverpb.Class_CLASS_DENIED, driverpb.Class_CLASS_INVALID
	drivertest.Run(t, drivertest.Harness{
		Start: drivertest.Process(drivertest.ProcessOptions{}),
		OutOfBand: &drivertest.OutOfBand{
			Host:    r.but(nil),
			Secrets: map[string]string{"password": ipmisim.Password},
			Unconfirmed: func(tb drivertest.T) drivertest.Properties {
				b := r.add(tb)
				b.Put("deaf", "")
				properties := b.properties()
				properties["confirmSeconds"] = 1.0
				return properties
			},
			Refused: []drivertest.BadSetting{
				{
					Name: "another host", Class: invalid, Code: "another-host",
					Properties: r.but(drivertest.Properties{"expectedUuid": "00000000-0000-4000-8000-000000000001"}),
				},
				{
					Name: "another serial number", Class: invalid, Code: "another-host",
					Properties: r.but(drivertest.Properties{"expectedSerial": "SN-0043"}),
				},
				{
					Name: "an unknown user", Class: denied, Code: "credentials-refused",
					Properties: r.but(drivertest.Properties{"user": "nobody"}),
				},
				{
					Name: "a cipher suite that the controller does not know", Class: invalid, Code: "cipher-refused",
					Properties: r.but(drivertest.Properties{"cipherSuite": 17.0}),
				},
				{
					Name: "a controller that is gone", Class: driverpb.Class_CLASS_TRANSIENT, Code: "controller-unreachable",
					Properties: func(tb drivertest.T) drivertest.Properties {
						b := r.add(tb)
						b.End()
						properties := b.properties()
						properties["requestSeconds"] = 1.0
						return properties
					},
				},
				{Name: "an option for an address", Code: "bad-property", Properties: r.but(drivertest.Properties{"address": "-K"})},
				{Name: "no user", Code: "bad-property", Properties: r.but(drivertest.Properties{"user": ""})},
				{Name: "no patience", Code: "bad-property", Properties: r.but(drivertest.Properties{"requestSeconds": 0.0})},
				{Name: "cipher suite 0", Code: "bad-property", Properties: r.but(drivertest.Properties{"cipherSuite": 0.0})},
				{Name: "half a UUID", Code: "bad-property", Properties: r.but(drivertest.Properties{"expectedUuid": "a123"})},
			},
			Powered: func(tb drivertest.T, _ *driverpb.Ref, p drivertest.Properties) bool { return r.at(tb, p).powered() },
			Cuts:    func(tb drivertest.T, _ *driverpb.Ref, p drivertest.Properties) int { return r.at(tb, p).cuts() },
		},
	})
}
