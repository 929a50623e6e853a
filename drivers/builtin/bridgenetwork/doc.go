// Package bridgenetwork is the driver "bulkhead/bridgenetwork": networks of machines on one Linux host, made of a
// bridge, nftables and dnsmasq in a network namespace per network, so that the host itself is touched in two places
// only (a pair of interfaces and the nftables table "bulkhead"), both made and taken away by this driver. What it must
// remember is written on the kernel's own objects and in handles. It knows the contract and Linux; it must never know
// the engine, other drivers, or what runs in a machine.
//
// # What is where
//
//	host                       namespace bhn-<network>                    namespace bh-<machine>
//	bht<network> ---- pair ---- up0   br0   p<nic> -------- pair -------- v<nic>   b<nic>   t<nic>
//	100.64.x.1                  .2    gateway                              (two-port bridge)  tap
//	table ip bulkhead           table ip bulkhead (edge)
//	(masquerade, forwards)      table bridge bulkhead (guard)
//	                            dnsmasq for DHCP, dnsmasq for names
//
// <network>, <machine> and <nic> stand for layout.Hash of the id. An isolated network has no pair to the host.
//
// # Reaching guests
//
// The outer address of a nat network (fact "outerAddress") is its end of the pair. A forward without a listen address
// listens there: the host reaches it, and nobody else, since no route leads there from elsewhere. A forward with an
// address of the host listens on that for everyone, including the host itself and, for 127.0.0.1, only the host.
// 0.0.0.0 stands for every address of the host. A port on which a program of the host listens is refused.
//
// Guests reach the host like strangers: through forwards and by echo, and the host's own name server if the network
// was given that as upstream.
package bridgenetwork
