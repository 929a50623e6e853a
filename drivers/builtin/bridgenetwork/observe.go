package bridgenetwork

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// States of what is observed.
const (
	statePresent = "present"
	stateForeign = "foreign"
)

// Observe implements sdk.Resources. In the scope of a network are its nics, in that of anything else the networks on
// this host and the network namespaces that are not this driver's.
func (b *base) Observe(_ context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error {
	if call.GetResource().GetKind() == kindNetwork {
		return asFault(b.observeNics(call.GetResource().GetId(), found))
	}
	return asFault(b.observeNetworks(found))
}

func (d *driver) observeNics(network string, found func(*driverpb.Observed) error) error {
	inside, err := d.openNetwork(network)
	if err != nil {
		return err
	}
	defer inside.close()
	nics, foreign, err := inside.nics()
	if err != nil {
		return err
	}
	for _, nic := range nics {
		facts, err := structpb.NewStruct(map[string]any{
			"machine": nic.Machine, "mac": nic.MAC.String(), "address": nic.Address.String(), "hostname": nic.Hostname,
		})
		if err != nil {
			return fmt.Errorf("describing nic %s: %w", nic.ID, err)
		}
		if err := found(&driverpb.Observed{
			Resource: &driverpb.Ref{Kind: kindNic, Id: nic.ID}, Name: layout.Port(nic.ID), State: statePresent,
			Facts: facts,
		}); err != nil {
			return err
		}
	}
	for _, name := range foreign {
		if err := found(&driverpb.Observed{Name: name, State: stateForeign}); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) observeNetworks(found func(*driverpb.Observed) error) error {
	names, err := d.spaces.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		thing := &driverpb.Observed{Name: name, State: stateForeign}
		network, err := d.networkIn(name)
		if err != nil {
			return err
		}
		switch {
		case network != "":
			thing.Resource = &driverpb.Ref{Kind: kindNetwork, Id: network}
			thing.State = statePresent
		case strings.HasPrefix(name, layout.MachineSpacePrefix):
			continue // in the scope of the network its nics are in
		}
		if err := found(thing); err != nil {
			return err
		}
	}
	return nil
}

// networkIn returns the id of the network in a namespace; empty when there is none of ours.
func (d *driver) networkIn(space string) (string, error) {
	if !strings.HasPrefix(space, layout.NetworkSpacePrefix) {
		return "", nil
	}
	inside, err := d.open(space)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer inside.close()
	plate, err := inside.find(loopback)
	if err != nil || plate == nil {
		return "", err
	}
	network, _ := layout.ParseNetwork(plate.Attrs().Alias)
	return network, nil
}
