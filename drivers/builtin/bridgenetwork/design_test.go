package bridgenetwork_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func (w *world) tryDesign(spec *driverpb.NetworkSpec, properties ...map[string]any) (*driverpb.NetworkSpec, error) {
	w.Helper()
	reply, err := w.driver.Networks.DesignNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", "net-design", nil, properties...), Network: spec,
	})
	return reply.GetNetwork(), err
}

func TestADesignIsCompleteAndStable(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct{ spec, want *driverpb.NetworkSpec }{
		"least": {
			&driverpb.NetworkSpec{Cidr: "10.20.0.0/16", DnsServers: []string{"9.9.9.9"}},
			&driverpb.NetworkSpec{
				Mode: "nat", Cidr: "10.20.0.0/16", Gateway: "10.20.0.1", Mtu: 1500, DnsServers: []string{"9.9.9.9"},
			},
		},
		"names need a domain": {
			&driverpb.NetworkSpec{Mode: "isolated", Cidr: "192.168.7.0/29", Dns: true, Dhcp: true},
			&driverpb.NetworkSpec{
				Mode: "isolated", Cidr: "192.168.7.0/29", Gateway: "192.168.7.1", Mtu: 1500, Dns: true, Dhcp: true,
				Domain: "internal",
			},
		},
		"what is asked for stays": {
			&driverpb.NetworkSpec{
				Mode: "nat", Cidr: "172.20.0.0/24", Gateway: "172.20.0.254", Mtu: 9000, Dns: true,
				Domain: "lab.example", DnsServers: []string{"1.1.1.1", "10.9.9.9"},
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.want
			if want == nil {
				want = test.spec
			}
			got, err := w.tryDesign(test.spec)
			if err != nil || !proto.Equal(got, want) {
				t.Fatalf("got %v, %v; want %v", got, err, want)
			}
			if again, err := w.tryDesign(got); err != nil || !proto.Equal(again, got) {
				t.Errorf("designed again it is %v, %v", again, err)
			}
		})
	}
	if got, err := w.tryDesign(&driverpb.NetworkSpec{Cidr: "10.20.0.0/16"}); err != nil || len(got.GetDnsServers()) > 8 {
		t.Errorf("with the host's name servers: %v, %v", got, err)
	}
}

func TestWhatCannotBeBuiltIsRefusedWithTheField(t *testing.T) {
	w := newWorld(t)
	spec := func(cidr string, changes ...func(*driverpb.NetworkSpec)) *driverpb.NetworkSpec {
		made := &driverpb.NetworkSpec{Cidr: cidr}
		for _, change := range changes {
			change(made)
		}
		return made
	}
	gateway := func(address string) func(*driverpb.NetworkSpec) {
		return func(s *driverpb.NetworkSpec) { s.Gateway = address }
	}
	servers := func(addresses ...string) func(*driverpb.NetworkSpec) {
		return func(s *driverpb.NetworkSpec) { s.DnsServers = addresses }
	}
	domain := func(name string) func(*driverpb.NetworkSpec) {
		return func(s *driverpb.NetworkSpec) { s.Domain = name }
	}
	mode := func(name string) func(*driverpb.NetworkSpec) {
		return func(s *driverpb.NetworkSpec) { s.Mode = name }
	}
	tiny := func(s *driverpb.NetworkSpec) { s.Mtu = 100 }
	const cidr = "10.1.0.0/24"
	for name, test := range map[string]struct {
		spec  *driverpb.NetworkSpec
		code  string
		field string // none: it is not wrong, but not supported
	}{
		"bridged":       {spec(cidr, mode("bridged")), "mode-unsupported", ""},
		"no mode":       {spec(cidr, mode("magic")), "bad-mode", "/mode"},
		"no range":      {spec(""), "bad-cidr", "/cidr"},
		"ipv6":          {spec("fd00::/64"), "ipv6-unsupported", ""},
		"host bits":     {spec("10.1.0.1/24"), "bad-cidr", "/cidr"},
		"too small":     {spec("10.1.0.0/30"), "bad-cidr", "/cidr"},
		"too large":     {spec("10.0.0.0/7"), "bad-cidr", "/cidr"},
		"loopback":      {spec("127.1.0.0/16"), "bad-cidr", "/cidr"},
		"multicast":     {spec("224.1.0.0/16"), "bad-cidr", "/cidr"},
		"link-local":    {spec("169.254.0.0/16"), "bad-cidr", "/cidr"},
		"gateway":       {spec(cidr, gateway("10.1.1.1")), "bad-gateway", "/gateway"},
		"broadcast":     {spec(cidr, gateway("10.1.0.255")), "bad-gateway", "/gateway"},
		"mtu":           {spec(cidr, tiny), "bad-mtu", "/mtu"},
		"domain":        {spec(cidr, domain("a b")), "bad-domain", "/domain"},
		"domain lines":  {spec(cidr, domain("a\nconf-file=/x")), "bad-domain", "/domain"},
		"name server":   {spec(cidr, servers("1.1.1.1", "x")), "bad-address", "/dnsServers/1"},
		"loopback dns":  {spec(cidr, servers("127.0.0.53")), "bad-address", "/dnsServers/0"},
		"ipv6 dns":      {spec(cidr, servers("2620:fe::fe")), "ipv6-unsupported", ""},
		"mapped server": {spec(cidr, servers("::ffff:1.1.1.1")), "ipv6-unsupported", ""},
		"nine servers":  {spec(cidr, servers(slices.Repeat([]string{"1.1.1.1"}, 9)...)), "too-many", "/dnsServers"},
	} {
		t.Run(name, func(t *testing.T) {
			class := driverpb.Class_CLASS_INVALID
			if test.field == "" {
				class = driverpb.Class_CLASS_UNSUPPORTED
			}
			_, err := w.tryDesign(test.spec)
			wantFault(t, err, class, test.code, test.field)
			_, err = w.driver.Networks.CreateNetwork(w.context(), &driverpb.NetworkRequest{
				Call: w.call("network", "net-design", nil), Network: test.spec,
			})
			wantFault(t, err, class, test.code, test.field)
		})
	}
}

func TestARangeInUseIsRefusedAndSaidByWhat(t *testing.T) {
	w := newWorld(t)
	w.outside()
	w.host("ip", "route", "add", "172.30.0.0/16", "via", "203.0.113.2")
	w.host("ip", "route", "add", "172.31.0.0/16", "via", "203.0.113.2", "table", "77")
	t.Cleanup(func() { w.host("ip", "route", "flush", "table", "77") })
	w.create("net-one", natSpec("10.20.0.0/24"))
	for cidr, by := range map[string]string{
		"203.0.113.128/25": "the host's route 203.0.113.0/24 through wan0",
		"172.30.5.0/24":    "the host's route 172.30.0.0/16 through wan0",
		"172.31.5.0/24":    "the host's route 172.31.0.0/16 through wan0",
		"10.20.0.0/16":     "network net-one",
		"100.64.7.0/24":    "the transit range 100.64.0.0/16",
	} {
		_, err := w.tryDesign(natSpec(cidr))
		fault := wantFault(t, err, driverpb.Class_CLASS_CONFLICT, "cidr-overlaps", "")
		if !strings.Contains(fault.GetMessage(), by) {
			t.Errorf("%s: %s; want it to name %s", cidr, fault.GetMessage(), by)
		}
	}
	if _, err := w.tryDesign(natSpec("172.30.5.0/24"), map[string]any{"allowHostOverlap": true}); err != nil {
		t.Errorf("where it is allowed: %v", err)
	}
	isolated := natSpec("172.30.5.0/24")
	isolated.Mode = "isolated"
	if _, err := w.tryDesign(isolated); err != nil {
		t.Errorf("an isolated network never meets the host's routes: %v", err)
	}
	isolated.Cidr = "10.20.0.0/25"
	_, err := w.tryDesign(isolated)
	wantFault(t, err, driverpb.Class_CLASS_CONFLICT, "cidr-overlaps", "")
}

func TestTransitsAreFreeAndRunOut(t *testing.T) {
	w := newWorld(t)
	w.outside()
	w.host("ip", "addr", "add", "100.99.0.1/30", "dev", "wan0") // the first of four is in use
	narrow := map[string]any{"transitCidr": "100.99.0.0/28"}
	seen := map[string]bool{}
	for i, id := range []string{"net-one", "net-two", "net-three"} {
		n := w.create(id, natSpec([]string{"10.20.0.0/24", "10.21.0.0/24", "10.22.0.0/24"}[i]), narrow)
		transit := n.facts["transit"]
		if seen[transit] || transit == "100.99.0.0/30" || !strings.HasPrefix(transit, "100.99.0.") {
			t.Errorf("%s got the transit %s", id, transit)
		}
		seen[transit] = true
	}
	_, err := w.driver.Networks.CreateNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", "net-four", nil, narrow), Network: natSpec("10.23.0.0/24"),
	})
	wantFault(t, err, driverpb.Class_CLASS_EXHAUSTED, "no-transit", "")
	if _, err := w.driver.Networks.DeleteNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", "net-four", nil), Network: natSpec("10.23.0.0/24"),
	}); err != nil {
		t.Errorf("undoing it: %v", err)
	}
}

func TestBadPropertiesAreRefused(t *testing.T) {
	w := newWorld(t)
	for key, values := range map[string][]any{
		"transitCidr":      {"x", "10.0.0.0/31", "fd00::/64", "10.0.0.0/4"},
		"hostForwarding":   {"maybe", true},
		"allowHostOverlap": {"yes", 1.0},
		"leaseSeconds":     {"1h", 60.0, 600.5, 1e9},
	} {
		for _, value := range values {
			_, err := w.tryDesign(natSpec("10.20.0.0/24"), map[string]any{key: value})
			wantFault(t, err, driverpb.Class_CLASS_INVALID, "bad-property", "/properties/"+key)
			err = w.driver.Resources.Configure(w.context(), map[string]any{key: value}, nil)
			wantFault(t, err, driverpb.Class_CLASS_INVALID, "bad-property", "/properties/"+key)
		}
	}
	if err := w.driver.Resources.Configure(w.context(), map[string]any{"transitCidr": "100.98.0.0/24"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tryDesign(natSpec("100.98.0.0/24")); sdk.FaultOf(err).GetCode() != "cidr-overlaps" {
		t.Errorf("the configured transit range is not in force: %v", err)
	}
}

func TestBadNicsAreRefused(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	for name, test := range map[string]struct {
		change func(*driverpb.NicSpec)
		code   string
		field  string // none: it is not wrong, but somebody else's
	}{
		"no machine":    {func(s *driverpb.NicSpec) { s.Machine = nil }, "machine-missing", "/machineId"},
		"hostname":      {func(s *driverpb.NicSpec) { s.Hostname = "a b" }, "bad-hostname", "/hostname"},
		"hostname line": {func(s *driverpb.NicSpec) { s.Hostname = "a\nb" }, "bad-hostname", "/hostname"},
		"group mac":     {func(s *driverpb.NicSpec) { s.Mac = "01:00:5e:00:00:01" }, "bad-mac", "/call/nic/mac"},
		"long mac":      {func(s *driverpb.NicSpec) { s.Mac = "02:00:5e:00:00:01:02:03" }, "bad-mac", "/call/nic/mac"},
		"zero mac":      {func(s *driverpb.NicSpec) { s.Mac = "00:00:00:00:00:00" }, "bad-mac", "/call/nic/mac"},
		"gateway":       {func(s *driverpb.NicSpec) { s.Address = "10.20.0.1" }, "bad-address", "/address"},
		"outside":       {func(s *driverpb.NicSpec) { s.Address = "10.21.0.1" }, "bad-address", "/address"},
		"broadcast":     {func(s *driverpb.NicSpec) { s.Address = "10.20.0.255" }, "bad-address", "/address"},
		"taken address": {func(s *driverpb.NicSpec) { s.Address = alpha.address() }, "address-taken", ""},
		"taken mac":     {func(s *driverpb.NicSpec) { s.Mac = alpha.spec.GetMac() }, "mac-taken", ""},
	} {
		t.Run(name, func(t *testing.T) {
			class := driverpb.Class_CLASS_INVALID
			if test.field == "" {
				class = driverpb.Class_CLASS_CONFLICT
			}
			spec := nicSpec("mac-bad", "52:54:00:00:00:09", "10.20.0.99", "bad")
			test.change(spec)
			_, err := n.attach("nic-bad", spec, nil)
			wantFault(t, err, class, test.code, test.field)
		})
	}
	other := proto.CloneOf(alpha.spec)
	other.Address = "10.20.0.99"
	_, err := n.attach(alpha.nic, other, alpha.handle)
	wantFault(t, err, driverpb.Class_CLASS_CONFLICT, "nic-differs", "")
}

func TestAnUnnamedNicIsKnownByItsID(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	spec := nicSpec("mac-"+strings.Repeat("m", 59), "52:54:00:00:00:09", "10.20.0.99", "")
	id := "nic-" + strings.Repeat("n", 59) // as long as ids get
	reply, err := n.attach(id, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := alpha.resolve(id + ".internal."); err != nil || got[0] != "10.20.0.99" {
		t.Errorf("%s resolves to %v (%v)", id, got, err)
	}
	if err := n.detach(id, spec, reply.GetHandle()); err != nil {
		t.Fatal(err)
	}
}

// FuzzHandle gives the driver handles that the engine might have garbled: it must refuse them, or find nothing.
func FuzzHandle(f *testing.F) {
	driver, err := bridgenetwork.New(sdk.Environment{
		Instance: "fuzz", WorkDir: f.TempDir(), Log: slog.New(slog.DiscardHandler), Host: newUnits(f),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("network", []byte(`{"mode":"nat","cidr":"10.20.0.0/24","gateway":"10.20.0.1","mtu":1500,"lease":600,`+
		`"transit":"100.64.0.0/30","rules":"c2FtcGxl"}`))
	f.Add("nic", []byte(`{"network":"net-one","machine":"mac-one","mac":"52:54:00:00:00:01","address":"10.20.0.5",`+
		`"hostname":"a","ownerUid":1,"mtu":1500}`))
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		_, err := driver.Resources.Probe(t.Context(), &driverpb.Call{
			Resource: &driverpb.Ref{Kind: kind, Id: "net-fuzz"}, Handle: &driverpb.Handle{Version: 1, Data: data},
		})
		if fault := sdk.FaultOf(err); err != nil && fault.GetClass() != driverpb.Class_CLASS_INVALID {
			t.Errorf("the driver says %v", err)
		}
	})
}
