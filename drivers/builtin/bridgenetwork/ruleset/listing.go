package ruleset

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
)

// HostState is what the host's table holds.
type HostState struct {
	Outers    []netip.Addr
	Claims    []Claim
	Resolvers []Resolver
	// ForwardingWasOff tells that forwarding was off before us.
	ForwardingWasOff bool
}

type listing struct {
	Objects []object `json:"nftables"`
}

type object struct {
	Set   *container `json:"set"`
	Map   *container `json:"map"`
	Chain *container `json:"chain"`
}

type container struct {
	Name     string            `json:"name"`
	Elements []json.RawMessage `json:"elem"`
}

type concatenation struct {
	Parts []json.RawMessage `json:"concat"`
}

// ParsePorts reads the output of `nft -j list table` about the guard: the interfaces of the ports it lets through.
func ParsePorts(output []byte) ([]string, error) {
	var found listing
	if err := json.Unmarshal(output, &found); err != nil {
		return nil, fmt.Errorf("reading the listing of nft: %w", err)
	}
	var ports []string
	for _, thing := range found.Objects {
		if thing.Map == nil || thing.Map.Name != "ports" {
			continue
		}
		err := each(thing.Map, func(element json.RawMessage) error {
			var port string
			pair := [2]any{&port}
			err := json.Unmarshal(element, &pair)
			ports = append(ports, port)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the listing of nft: %w", err)
		}
	}
	return ports, nil
}

// ParseHost reads the output of `nft -j list table` about the host's table.
func ParseHost(output []byte) (HostState, error) {
	var found listing
	if err := json.Unmarshal(output, &found); err != nil {
		return HostState{}, fmt.Errorf("reading the listing of nft: %w", err)
	}
	var state HostState
	for _, thing := range found.Objects {
		if err := state.take(thing); err != nil {
			return HostState{}, fmt.Errorf("reading the listing of nft: %w", err)
		}
	}
	return state, nil
}

func (s *HostState) take(thing object) error {
	switch {
	case thing.Chain != nil && thing.Chain.Name == marker:
		s.ForwardingWasOff = true
	case thing.Set != nil && thing.Set.Name == "outers":
		return each(thing.Set, func(element json.RawMessage) error {
			var outer netip.Addr
			err := json.Unmarshal(element, &outer)
			s.Outers = append(s.Outers, outer)
			return err
		})
	case thing.Set != nil && thing.Set.Name == "resolvers":
		return each(thing.Set, func(element json.RawMessage) error {
			var resolver Resolver
			err := parts(element, &resolver.Link, &resolver.Address)
			s.Resolvers = append(s.Resolvers, resolver)
			return err
		})
	case thing.Map != nil && (thing.Map.Name == "claims" || thing.Map.Name == "wildcards"):
		return each(thing.Map, func(element json.RawMessage) error {
			claim, err := parseClaim(thing.Map.Name, element)
			s.Claims = append(s.Claims, claim)
			return err
		})
	}
	return nil
}

func parseClaim(mapName string, element json.RawMessage) (Claim, error) {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(element, &pair); err != nil {
		return Claim{}, err
	}
	claim := Claim{Listen: netip.IPv4Unspecified()}
	var protocol json.RawMessage
	targets := []any{&claim.Listen, &protocol, &claim.Port}
	if mapName == "wildcards" {
		targets = targets[1:]
	}
	if err := parts(pair[0], targets...); err != nil {
		return Claim{}, err
	}
	var address netip.Addr
	var port uint16
	if err := parts(pair[1], &address, &port); err != nil {
		return Claim{}, err
	}
	claim.Inner = netip.AddrPortFrom(address, port)
	return claim, parseProtocol(protocol, &claim.Protocol)
}

// parseProtocol reads a protocol, which nft writes as a number or as its name.
func parseProtocol(raw json.RawMessage, protocol *uint8) error {
	switch string(raw) {
	case `"tcp"`:
		*protocol = TCP
	case `"udp"`:
		*protocol = UDP
	default:
		return json.Unmarshal(raw, protocol)
	}
	return nil
}

func each(of *container, take func(json.RawMessage) error) error {
	for _, element := range of.Elements {
		if err := take(element); err != nil {
			return fmt.Errorf("element %s of %s: %w", element, of.Name, err)
		}
	}
	return nil
}

func parts(element json.RawMessage, targets ...any) error {
	var joined concatenation
	if err := json.Unmarshal(element, &joined); err != nil {
		return err
	}
	if len(joined.Parts) != len(targets) {
		return fmt.Errorf("%d parts where %d are expected", len(joined.Parts), len(targets))
	}
	for i, target := range targets {
		if err := json.Unmarshal(joined.Parts[i], target); err != nil {
			return err
		}
	}
	return nil
}

// Without returns the change that takes all away that leads to these outer addresses or comes through the link.
func (s *HostState) Without(link string, outers []netip.Addr) Change {
	var change Change
	for _, outer := range s.Outers {
		if slices.Contains(outers, outer) {
			change.DropOuters = append(change.DropOuters, outer)
		}
	}
	for _, claim := range s.Claims {
		if slices.Contains(outers, claim.Inner.Addr()) {
			change.DropClaims = append(change.DropClaims, claim)
		}
	}
	for _, resolver := range s.Resolvers {
		if resolver.Link == link {
			change.DropResolvers = append(change.DropResolvers, resolver)
		}
	}
	return change
}
