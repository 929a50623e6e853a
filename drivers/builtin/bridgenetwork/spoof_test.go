package bridgenetwork_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

const (
	etherIP   = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIP6  = 0x86dd
)

var everyone = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func mustMAC(t drivertest.T, text string) net.HardwareAddr {
	t.Helper()
	mac, err := net.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

func ethernet(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	frame := slices.Concat(to, from, binary.BigEndian.AppendUint16(nil, kind), payload)
	return append(frame, make([]byte, max(0, 60-len(frame)))...)
}

// datagram is an IPv4 packet with a UDP datagram without checksum.
func datagram(from, to netip.Addr, fromPort, toPort uint16, payload []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, fromPort)
	udp = binary.BigEndian.AppendUint16(udp, toPort)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, payload...)
	header := []byte{0x45, 0}
	header = binary.BigEndian.AppendUint16(header, uint16(20+len(udp)))
	header = append(header, 0, 1, 0, 0, 64, 17, 0, 0)
	header = append(header, from.AsSlice()...)
	header = append(header, to.AsSlice()...)
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
	return append(header, udp...)
}

// arp says who has an address; mark is appended to be recognised.
func arp(mac net.HardwareAddr, address, target netip.Addr, mark string) []byte {
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, mac, address.AsSlice(), everyone, target.AsSlice(), []byte(mark))
}

func TestAGuestSpeaksForItselfOnly(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha, beta, gamma := n.guest("alpha", 0), n.guest("beta", 1), n.guest("gamma", 2)
	own, ownIP := mustMAC(t, alpha.spec.GetMac()), netip.MustParseAddr(alpha.address())
	betaMAC, betaIP := mustMAC(t, beta.spec.GetMac()), netip.MustParseAddr(beta.address())
	gammaMAC, gammaIP := mustMAC(t, gamma.spec.GetMac()), netip.MustParseAddr(gamma.address())
	gateway, broadcast := netip.MustParseAddr("10.20.0.1"), netip.MustParseAddr("10.20.0.255")
	stranger := net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}
	ipv6Header, tag := slices.Concat([]byte{0x60, 0, 0, 0, 0, 4, 59, 64}, make([]byte, 32)), []byte{0, 5, 8, 0}
	say := func(text string) []byte { return []byte(text) }

	forbidden := map[string][]byte{
		"FOREIGN-MAC": ethernet(betaMAC, stranger, etherIP, datagram(ownIP, betaIP, 9, 9, say("FOREIGN-MAC"))),
		"GAMMAS-MAC":  ethernet(betaMAC, gammaMAC, etherIP, datagram(ownIP, betaIP, 9, 9, say("GAMMAS-MAC"))),
		"GAMMAS-IP":   ethernet(betaMAC, own, etherIP, datagram(gammaIP, betaIP, 9, 9, say("GAMMAS-IP"))),
		"GATEWAYS-IP": ethernet(betaMAC, own, etherIP, datagram(gateway, betaIP, 9, 9, say("GATEWAYS-IP"))),
		"OUTSIDE-IP": ethernet(betaMAC, own, etherIP,
			datagram(netip.MustParseAddr("8.8.8.8"), betaIP, 9, 9, say("OUTSIDE-IP"))),
		"NO-IP":         ethernet(betaMAC, own, etherIP, datagram(netip.IPv4Unspecified(), betaIP, 9, 9, say("NO-IP"))),
		"ARP-GATEWAY":   ethernet(betaMAC, own, etherARP, arp(own, gateway, betaIP, "ARP-GATEWAY")),
		"ARP-GAMMA":     ethernet(everyone, own, etherARP, arp(own, gammaIP, gammaIP, "ARP-GAMMA")),
		"ARP-OTHER-MAC": ethernet(everyone, own, etherARP, arp(stranger, ownIP, betaIP, "ARP-OTHER-MAC")),
		"DHCP-SERVER":   ethernet(everyone, own, etherIP, datagram(ownIP, broadcast, 67, 68, say("DHCP-SERVER"))),
		"IPV6":          ethernet(betaMAC, own, etherIP6, slices.Concat(ipv6Header, say("IPV6"))),
		"TAGGED":        ethernet(betaMAC, own, etherVLAN, slices.Concat(tag, datagram(ownIP, betaIP, 9, 9, say("TAGGED")))),
		"OTHER-KIND":    ethernet(betaMAC, own, 0x88b5, say("OTHER-KIND")),
	}
	permitted := map[string][]byte{
		"OWN":       ethernet(betaMAC, own, etherIP, datagram(ownIP, betaIP, 9, 9, say("OWN"))),
		"BROADCAST": ethernet(everyone, own, etherIP, datagram(ownIP, broadcast, 9, 9, say("BROADCAST"))),
		"ARP-OWN":   ethernet(everyone, own, etherARP, arp(own, ownIP, ownIP, "ARP-OWN")),
		"ARP-PROBE": ethernet(everyone, own, etherARP, arp(own, netip.IPv4Unspecified(), ownIP, "ARP-PROBE")),
	}
	in, out := beta.frames(), alpha.frames()
	var marks []string
	for mark, frame := range forbidden {
		marks = append(marks, mark)
		out.send(frame)
	}
	var wanted []string
	for mark, frame := range permitted {
		wanted = append(wanted, mark)
		out.send(frame)
	}
	out.send(ethernet(betaMAC, own, etherIP, datagram(ownIP, betaIP, 9, 9, say("THE-LAST"))))
	seen := in.until("THE-LAST", slices.Concat(marks, wanted)...)
	for _, mark := range marks {
		if slices.Contains(seen, mark) {
			t.Errorf("%s got through", mark)
		}
	}
	for _, mark := range wanted {
		if !slices.Contains(seen, mark) {
			t.Errorf("%s did not get through", mark)
		}
	}
}

func TestFramesForOneGuestAreNotSeenByAnother(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha, beta, gamma := n.guest("alpha", 0), n.guest("beta", 1), n.guest("gamma", 2)
	own, ownIP := mustMAC(t, alpha.spec.GetMac()), netip.MustParseAddr(alpha.address())
	betaMAC, betaIP := mustMAC(t, beta.spec.GetMac()), netip.MustParseAddr(beta.address())
	nobody := net.HardwareAddr{0x52, 0x54, 0, 9, 9, 9}
	out, curious := alpha.frames(), gamma.frames()
	out.send(ethernet(betaMAC, own, etherIP, datagram(ownIP, betaIP, 9, 9, []byte("FOR-BETA"))))
	out.send(ethernet(nobody, own, etherIP, datagram(ownIP, betaIP, 9, 9, []byte("FOR-NOBODY"))))
	broadcast := netip.MustParseAddr("10.20.0.255")
	out.send(ethernet(everyone, own, etherIP, datagram(ownIP, broadcast, 9, 9, []byte("FOR-ALL"))))
	if seen := curious.until("FOR-ALL", "FOR-BETA", "FOR-NOBODY"); len(seen) > 0 {
		t.Errorf("gamma saw %v", seen)
	}
}

func TestARogueDHCPServerGetsNoClients(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	rogue := n.guest("rogue", 0)
	directory := t.TempDir()
	config := filepath.Join(directory, "udhcpd.conf")
	err := os.WriteFile(config, []byte("interface eth0\nstart 10.20.0.200\nend 10.20.0.210\n"+
		"lease_file "+directory+"/leases\npidfile "+directory+"/pid\noption router 10.20.0.10\noption lease 3600\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	rogue.background("busybox", "udhcpd", "-f", "-S", config)
	beta := n.mute("beta", 1)
	w.units.crash(t, dhcpUnitOf(n)) // now the rogue one has no competitor
	if output, err := beta.Run(w.context(), "", "busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-T", "1", "-t", "2",
		"-s", "/bin/true"); err == nil {
		t.Errorf("beta got a lease from the rogue server: %s", output)
	}
	n.handle = w.adopt("network", n.id, n.handle)
	if lease := beta.configure(); lease["router"] != "10.20.0.1" {
		t.Errorf("beta's way out is %s", lease["router"])
	}
}

func TestAGuestGetsNoLeaseForAnother(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha, beta := n.guest("alpha", 0), n.guest("beta", 1)
	in := beta.frames()
	discover := make([]byte, 300)
	copy(discover, []byte{1, 1, 6, 0, 1, 2, 3, 4})
	discover[10] = 0x80 // the answer is broadcast
	copy(discover[28:], mustMAC(t, beta.spec.GetMac()))
	copy(discover[236:], []byte{99, 130, 83, 99, 53, 1, 1, 255})
	own := mustMAC(t, alpha.spec.GetMac())
	ask := func() {
		alpha.frames().send(ethernet(everyone, own, etherIP,
			datagram(netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), 68, 67, discover)))
	}
	ask()
	copy(discover[28:], own)
	ask()
	offerOf := func(address string) string {
		return string(netip.MustParseAddr(address).AsSlice()) + "\x0a\x14\x00\x01"
	}
	if seen := in.until(offerOf(alpha.address()), offerOf(beta.address())); len(seen) > 0 {
		t.Error("alpha was offered beta's lease")
	}
}
