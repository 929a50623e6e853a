package download_test

import (
	"net/netip"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages/download"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func policy(t testing.TB, cidrs ...string) download.Policy {
	t.Helper()
	parsed, err := download.ParsePolicy(cidrs, 0)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestPolicyWithoutExceptions(t *testing.T) {
	t.Parallel()
	strict := policy(t)
	for address, allowed := range map[string]bool{
		"1.1.1.1": true, "93.184.215.14": true, "2606:4700:4700::1111": true, "::ffff:1.1.1.1": true,
		"127.0.0.1": false, "127.255.255.254": false, "::1": false, "::ffff:127.0.0.1": false, "::127.0.0.1": false,
		"0.0.0.0": false, "::": false, "0.1.2.3": false,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "172.32.0.1": true, "192.168.1.1": false,
		"::ffff:10.0.0.1": false, "::ffff:c0a8:101": false,
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "fe80::1": false, "fe80::1%lo": false,
		"100.64.0.1": false, "100.127.255.255": false, "100.128.0.1": true, "198.18.0.1": false, "192.0.0.8": false,
		"224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false, "ff02::1": false,
		"fc00::1": false, "fd12:3456::1": false, "fec0::1": false, "2001:db8::1": false, "100::1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::169.254.169.254": false, "64:ff9b::1.1.1.1": false, "64:ff9b:1::1": false,
		"2002:7f00:1::": false, "2001::1": false, "4000::1": false, "1::1": false, "5f00::1": false,
	} {
		err := strict.Check(netip.MustParseAddr(address))
		if (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed = %v", address, err, allowed)
		}
	}
	if strict.Check(netip.Addr{}) == nil {
		t.Error("an address that is none is allowed")
	}
}

func TestPolicyWithExceptions(t *testing.T) {
	t.Parallel()
	some := policy(t, "10.1.0.0/16", "127.0.0.1/32", "fd00::/8")
	for address, allowed := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "127.0.0.1": true, "127.0.0.2": false, "::1": false,
		"fd00::1": true, "fc00::1": false, "64:ff9b::10.1.2.3": false, "2002:0a01:0203::": false,
	} {
		if err := some.Check(netip.MustParseAddr(address)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed = %v", address, err, allowed)
		}
	}
}

func TestPolicyIsParsedStrictly(t *testing.T) {
	t.Parallel()
	for _, cidr := range []string{"", "10.0.0.1", "10.0.0.0/33", "example.com", "10.0.0.0/8 "} {
		if _, err := download.ParsePolicy([]string{cidr}, 0); sdk.FaultOf(err).GetCode() != "cidr-invalid" {
			t.Errorf("%q: %v, want cidr-invalid", cidr, err)
		}
	}
	for asked, want := range map[uint32]int{0: 3, 1: 1, 3: 3, 4: 3, 1 << 31: 3} {
		if got, err := download.ParsePolicy(nil, asked); err != nil || got.Redirects != want {
			t.Errorf("%d redirects become %d, %v; want %d", asked, got.Redirects, err, want)
		}
	}
}

// FuzzCheck compares the policy with what the standard library knows of addresses: nothing that it knows to be special
// may be allowed, in whatever clothing.
func FuzzCheck(f *testing.F) {
	for _, address := range []string{"127.0.0.1", "::ffff:10.0.0.1", "fe80::1", "2606:4700::1", "64:ff9b::7f00:1"} {
		f.Add(netip.MustParseAddr(address).AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		address, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		err := policy(t).Check(address)
		plain := address.Unmap()
		special := plain.IsLoopback() || plain.IsPrivate() || plain.IsLinkLocalUnicast() || plain.IsMulticast() ||
			plain.IsUnspecified() || plain.IsInterfaceLocalMulticast() || !plain.IsGlobalUnicast()
		if special && err == nil {
			t.Errorf("%s is special and allowed", address)
		}
		if plain.Is4() {
			mapped := netip.AddrFrom16(plain.As16())
			if (policy(t).Check(mapped) == nil) != (err == nil) {
				t.Errorf("%s and %s are treated differently", plain, mapped)
			}
		}
	})
}
