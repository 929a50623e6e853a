package operations

import (
	"github.com/bulkhead-cloud/bulkhead/actors/planner"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// checkMove refuses a move that can be seen to lead nowhere.
func checkMove(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	m, ok := r.(*resources.Machine)
	if !ok || m.Status.HostID == "" {
		return nil
	}
	if move := m.Status.Moving; move != nil {
		return checkLeft(move, op.Arguments.HostID)
	}
	choice, err := ChooseMove(v, m, op.Arguments.HostID)
	if err == nil && choice.Chosen == nil {
		return nowhereToGo(choice)
	}
	return err
}

// checkLeft refuses another goal for a move that did not end well.
func checkLeft(move *resources.Move, want resources.HostID) error {
	if want == "" || want == move.ToHostID {
		return nil
	}
	ref := resources.Ref{Kind: resources.KindHost, ID: string(move.ToHostID)}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "on-its-way", Resource: &ref,
		Message: "the machine is on its way to host " + string(move.ToHostID) + " since a move that did not end well",
		Remedy:  "ask for that host, or none; then move it on",
		Fields:  []resources.FieldError{{Pointer: "/hostId", Code: "on-its-way", Message: "is not where the machine goes"}},
	}
}

// ChooseMove asks the planner for a host that a machine can go to: the one wanted, or any.
func ChooseMove(v *persistence.View, m *resources.Machine, want resources.HostID) (resources.Choice, error) {
	from, err := persistence.Find[*resources.Host](v, resources.KindHost, string(m.Status.HostID))
	if err != nil {
		return resources.Choice{}, err
	}
	zone, err := v.Zone()
	if err != nil {
		return resources.Choice{}, err
	}
	var candidates []planner.Host
	unfit := []resources.Reason{}
	err = v.Each(resources.KindHost, nil, func(r resources.Resource) bool {
		h, ok := r.(*resources.Host)
		if !ok || want != "" && h.ID != string(want) {
			return true
		}
		if why := unlike(m, from, h); why != nil {
			unfit = append(unfit, *why)
			return true
		}
		candidates = append(candidates, planner.Host{Host: h, Capacity: h.Capacity(zone.Overcommit())})
		return true
	})
	if err != nil {
		return resources.Choice{}, err
	}
	if err := groups(v, m, candidates); err != nil {
		return resources.Choice{}, err
	}
	ties, err := holdsOf(v, m)
	if err != nil {
		return resources.Choice{}, err
	}
	choice := planner.Hosts(m, ties, candidates)
	choice.Refused = append(unfit, choice.Refused...)
	return choice, nil
}

// unlike says why a host can't take over what runs on another, or nil.
func unlike(m *resources.Machine, from, h *resources.Host) *resources.Reason {
	differs := func(check, needed, has, message string) *resources.Reason {
		return &resources.Reason{
			Candidate: h.Ref(), Name: h.Name, Check: check, Needed: needed, Available: has, Message: message,
		}
	}
	switch {
	case h.ID == from.ID:
		return differs("same-host", "", "", "the machine is on this host")
	case h.Spec.Driver != from.Spec.Driver:
		return differs("driver", from.Spec.Driver, h.Spec.Driver, "the host has another hypervisor")
	case h.Status.Architecture != from.Status.Architecture:
		return differs("architecture", from.Status.Architecture, h.Status.Architecture, "the host has other processors")
	case isOn(m) && h.Status.Accelerator != from.Status.Accelerator:
		return differs("accelerator", from.Status.Accelerator, h.Status.Accelerator,
			"what runs with one accelerator does not run on with another")
	}
	return nil
}

// holdsOf lists what keeps a machine that has been made where it is: its nics, its
// volumes, its ISO.
func holdsOf(v *persistence.View, m *resources.Machine) (ties []planner.Tie, err error) {
	nodes, err := nodesOf(v)
	if err != nil {
		return nil, err
	}
	tie := func(one planner.Tie, err error) error {
		if nodes.Alone {
			one.Node = ""
		}
		if err == nil {
			ties = append(ties, one)
		}
		return unlessGone(err)
	}
	for _, id := range m.Status.NicIDs {
		if err := tie(nicTie(v, id)); err != nil {
			return nil, err
		}
	}
	for _, id := range volumesOf(m) {
		if err := tie(volumeTie(v, id)); err != nil {
			return nil, err
		}
	}
	if m.Spec.ISO == "" {
		return ties, nil
	}
	return ties, tie(templateTie(v, m.Spec.ISO))
}

func nicTie(v *persistence.View, id resources.NicID) (planner.Tie, error) {
	nic, err := persistence.Find[*resources.Nic](v, resources.KindNic, string(id))
	if err != nil {
		return planner.Tie{}, err
	}
	tie, err := networkTie(v, nic.Spec.NetworkID)
	tie.What = "nic " + nic.ID + " in " + tie.What
	return tie, err
}

// nowhereToGo says why a machine can go to no other host.
func nowhereToGo(choice resources.Choice) *resources.Error {
	e := NothingFits("host", "machine", choice)
	e.Code, e.Message = "nowhere-to-go", "the machine can go to no other host"
	for _, why := range choice.Refused {
		switch why.Check {
		case planner.CheckNode:
			e.Remedy = "see the reasons; networks, image stores and pools that are not shared keep a machine to their node: " +
				"name a host on that node, detach the nic, or keep its volumes in a shared pool"
		default:
		}
	}
	return e
}
