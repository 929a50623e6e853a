package archive

import (
	"fmt"
	"strings"
)

// Words lists the permissions for people who decide about them; empty when the driver asks for nothing.
func (p *Permissions) Words() []string {
	var words []string
	list := func(what string, values []string) {
		if len(values) > 0 {
			words = append(words, what+" "+strings.Join(values, " "))
		}
	}
	flag := func(what string, asked bool) {
		if asked {
			words = append(words, what)
		}
	}
	list("read", p.Read)
	list("write", p.Write)
	list("execute", p.Exec)
	list("open devices", p.Devices)
	flag("unix sockets", p.UnixSockets)
	list("connect to TCP ports", ports(p.TCPConnect))
	list("listen on TCP ports", ports(p.TCPListen))
	flag("UDP", p.UDP)
	flag("the host's network", p.HostNetwork)
	list("keep capabilities", p.Capabilities)
	for _, program := range p.Launch {
		words = append(words, "have launched "+program.words())
	}
	return words
}

func (p *Program) words() string {
	words := []string{p.Path}
	for _, part := range []struct {
		what   string
		values []string
	}{
		{"capabilities", p.Capabilities}, {"devices", p.Devices}, {"reading", p.Read}, {"executing", p.Exec},
	} {
		if len(part.values) > 0 {
			words = append(words, "with", part.what, strings.Join(part.values, " "))
		}
	}
	if p.Network {
		words = append(words, "with network")
	}
	return strings.Join(words, " ")
}

func ports(numbers []uint16) []string {
	words := make([]string, len(numbers))
	for i, number := range numbers {
		words[i] = fmt.Sprint(number)
	}
	return words
}
