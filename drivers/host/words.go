package host

import (
	"fmt"
	"slices"
	"strings"
)

// Words says what is permitted, one line for each thing, in an order that does not depend on how it was written.
func (p Permissions) Words() (words []string) {
	add := func(what string, of ...string) {
		for _, one := range of {
			words = append(words, what+" "+one)
		}
	}
	add("read", p.Read...)
	add("write", p.Write...)
	add("execute", p.Exec...)
	add("open device", p.Devices...)
	add("keep capability", p.Capabilities...)
	for _, port := range p.TCPConnect {
		add("connect to TCP port", fmt.Sprint(port))
	}
	for _, port := range p.TCPListen {
		add("listen on TCP port", fmt.Sprint(port))
	}
	if p.UnixSockets {
		words = append(words, "use unix sockets")
	}
	if p.UDP {
		words = append(words, "use UDP")
	}
	if p.HostNetwork {
		words = append(words, "use the network of the host")
	}
	for _, program := range p.Launch {
		words = append(words, launchWords(program)...)
	}
	slices.Sort(words)
	return slices.Compact(words)
}

func launchWords(p Program) (words []string) {
	words = append(words, "have launched "+p.Path)
	for what, list := range map[string][]string{
		"with capability": p.Capabilities, "with device": p.Devices, "which reads": p.Read, "which executes": p.Exec,
	} {
		if len(list) > 0 {
			words = append(words, fmt.Sprintf("have launched %s %s %s", p.Path, what, strings.Join(list, ", ")))
		}
	}
	if p.Network {
		words = append(words, "have launched "+p.Path+" with network")
	}
	return words
}
