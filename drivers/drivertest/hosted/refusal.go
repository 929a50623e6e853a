package hosted

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// refusals are how programs of several languages say that the kernel did not let them.
func refusals() []*regexp.Regexp {
	return []*regexp.Regexp{
		// Go, C: "open /etc/secret: permission denied", "fork/exec /bin/true: operation not permitted"
		regexp.MustCompile(`(?i)([a-z/]+) ['"]?(/[^\s'":]+)['"]?: (?:permission denied|operation not permitted)`),
		// Python: [Errno 13] Permission denied: '/etc/secret'
		regexp.MustCompile(`(?i)(errno 1?[13])\] (?:permission denied|operation not permitted): \\?['"](/[^'"\\]+)`),
		// Connections: "dial tcp 192.0.2.1:443: connect: permission denied"
		regexp.MustCompile(`(?i)(dial|listen) ((?:tcp|udp|unix)\S* \S+): [a-z]+: ` +
			`(?:permission denied|operation not permitted|network is unreachable)`),
		// The log of a program that was ended by the filter of system calls.
		regexp.MustCompile(`(?i)(signal): (bad system call|SIGSYS)`),
	}
}

// Advice implements drivertest.Confined.
func (i *instance) Advice(said string) []string {
	var all []string
	for _, pattern := range refusals() {
		for _, found := range pattern.FindAllStringSubmatch(said, -1) {
			advice := fmt.Sprintf("the sandbox refused %q: %s", found[2], permission(strings.ToLower(found[1]), found[2]))
			if !slices.Contains(all, advice) {
				all = append(all, advice)
			}
		}
	}
	return all
}

// permission says what a driver that did something would have had to declare.
func permission(deed, what string) string {
	transport, address, _ := strings.Cut(what, " ")
	port := address[strings.LastIndex(address, ":")+1:]
	switch {
	case strings.Contains(deed, "exec"):
		return "declare the program in permissions.exec, or in permissions.launch if it must outlive the driver"
	case deed == "signal":
		return "it makes a system call that drivers have no use for; see which with strace"
	case strings.HasPrefix(transport, "udp"):
		return "declare permissions.udp"
	case strings.HasPrefix(transport, "unix"):
		return "declare permissions.unixSockets"
	case strings.HasPrefix(transport, "tcp") && deed == "listen":
		return "declare port " + port + " in permissions.tcpListen"
	case strings.HasPrefix(transport, "tcp"):
		return "declare port " + port + " in permissions.tcpConnect"
	case strings.HasPrefix(what, "/dev/"):
		return "declare the device in permissions.devices"
	}
	return "declare it in permissions.read or permissions.write; if it is a setting, as the pathAccess of the property"
}
