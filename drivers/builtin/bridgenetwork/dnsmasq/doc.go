// Package dnsmasq writes the files from which dnsmasq serves one network: one process for DHCP and one for names,
// so that restarting the first, which is how it forgets a lease, never interrupts the second. It knows files only; it
// must never start, stop or signal a process.
package dnsmasq
