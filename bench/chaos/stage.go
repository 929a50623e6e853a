package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/bench/lab"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// stage is where the nodes of a zone live: each in a network namespace of its own, with
// its state on a disk of its own.
type stage struct {
	network *lab.Network
	disks   []*lab.Disk
	places  []server.Place // of the nodes
	agents  []server.Place
}

// diskBytes is what a node's disk has. It needs half a GiB free to take anything on.
const diskBytes = 2 << 30

// newStage makes places for nodes, with disks in dir, and for agents of hosts.
func newStage(ctx context.Context, dir string, nodes, agents int) (*stage, error) {
	network, err := lab.NewNetwork(ctx, nodes+agents)
	if err != nil {
		return nil, err
	}
	s := &stage{network: network}
	for i := range nodes {
		disk := filepath.Join(dir, "disk-"+nodeName(i))
		d, err := lab.NewDisk(ctx, disk+".img", disk, diskBytes)
		if err != nil {
			return nil, fmt.Errorf("making the disk of %s: %w", nodeName(i), err)
		}
		s.disks = append(s.disks, d)
		s.places = append(s.places, server.Place{
			Host: network.PeerAddress(i), API: network.Address(i), Verbose: true,
			Enter:   func(work func() error) error { return network.Do(i, work) },
			Prepare: func(dir string) error { return useDisk(dir, disk) },
		})
	}
	for i := nodes; i < nodes+agents; i++ {
		s.agents = append(s.agents, server.Place{
			Host: network.PeerAddress(i), API: network.Address(i),
			Enter: func(work func() error) error { return network.Do(i, work) },
		})
	}
	return s, nil
}

// useDisk has what a node agrees on with others be on its disk. What its drivers have is
// not: the simulator's journal is the truth, which must not break.
func useDisk(dir, disk string) error {
	for _, name := range []string{"state", "raft"} {
		path := filepath.Join(disk, name)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Symlink(path, filepath.Join(dir, name))); err != nil {
			return fmt.Errorf("preparing the disk: %w", err)
		}
	}
	return nil
}

// end takes the network away and lets go of the disks, so that their files can be removed.
func (s *stage) end(ctx context.Context) error {
	errs := []error{s.network.Close(ctx)}
	for _, d := range s.disks {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}
