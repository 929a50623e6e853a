package main

import (
	"context"
	"errors"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

var (
	portInChain = regexp.MustCompile(`tcp dport (\d+)`)
	portOfNic   = regexp.MustCompile(`"(` + layout.PortPrefix + `[a-z2-7]+)" :`)
)

// networks compares the kernel's namespaces, ports and packet filter with the state.
func (c *checker) networks(ctx context.Context) error {
	spaces := netspace.OpenDirectory(netspace.DefaultDirectory)
	for id, phase := range c.phases["network"] {
		if !c.isReal("network", id) {
			continue
		}
		space, err := spaces.Open(layout.NetworkSpace(id))
		if errors.Is(err, fs.ErrNotExist) {
			c.find(&c.report.Lost, "network %s is %s and has no namespace", id, phase)
			continue
		}
		if err != nil {
			return err
		}
		err = c.filterOf(ctx, id, space)
		space.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// filterOf compares rules and nics of a network with its packet filter.
func (c *checker) filterOf(ctx context.Context, id string, space *netspace.Space) error {
	list := func(what ...string) (string, error) {
		text, err := space.Run(ctx, "", append([]string{"nft", "list"}, what...)...)
		return string(text), err
	}
	chain, err := list("chain", "ip", "bulkhead", "ingress")
	if err != nil {
		return err
	}
	ports, err := list("map", "bridge", "bulkhead", "ports")
	if err != nil {
		return err
	}
	var rules, nics []string
	for _, rule := range c.rules[id] {
		_, port, _ := strings.Cut(rule, " ")
		rules = append(rules, port)
	}
	for _, nic := range c.nics[id] {
		if c.isReal("nic", nic) {
			nics = append(nics, layout.Port(nic))
		}
	}
	if has := firsts(portInChain, chain); !sameSet(has, rules) {
		c.find(&c.report.Lost, "network %s lets in ports %v, the state says %v", id, has, rules)
	}
	if has := firsts(portOfNic, ports); !sameSet(has, nics) {
		c.find(&c.report.Lost, "network %s has the ports %v, the state says %v", id, has, nics)
	}
	return nil
}

// firsts lists what the pattern's first group matches.
func firsts(pattern *regexp.Regexp, text string) []string {
	var found []string
	for _, match := range pattern.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

// spacesLeft looks for namespaces that were not there before.
func (c *checker) spacesLeft() error {
	now, err := netspace.OpenDirectory(netspace.DefaultDirectory).List()
	if err != nil {
		return err
	}
	for _, name := range now {
		if !slices.Contains(c.spaces, name) {
			c.find(&c.report.Orphans, "network namespace %s is there after everything was deleted", name)
		}
	}
	return nil
}
