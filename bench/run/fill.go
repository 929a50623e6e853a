package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// filler puts volumes into a zone through the log of a node, many to a command.
// Each has all a volume has but a binding: name, labels, index keys, events. No
// driver is asked to make them.
type filler struct {
	dir    string
	pools  []resources.PoolID
	filled int
}

const (
	fillPools    = 10
	fillCommand  = 250 // volumes
	fillProposed = 8   // commands at a time
	labelKey     = "tier"
	labelValues  = 100
)

func labelValue(i int) string { return "t" + strconv.Itoa(i%labelValues) }

// fill runs a node in this process until its zone holds n volumes.
func (f *filler) fill(ctx context.Context, n int) (err error) {
	c := server.Config(builtIns(), f.dir, "127.0.0.1:0", slog.New(slog.DiscardHandler))
	run, err := node.Start(ctx, c)
	if err != nil {
		return fmt.Errorf("filling: %w", err)
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		err = errors.Join(err, run.StopDrivers(ctx), run.Close(ctx))
	}()
	codec, err := persistence.NewCodec(resources.NewVocabulary())
	if err != nil {
		return err
	}
	if len(f.pools) == 0 {
		if err := f.addPools(ctx, run, codec); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fillProposed)
	for ; f.filled < n; f.filled += fillCommand {
		first := f.filled
		group.Go(func() error {
			list := make([]resources.Resource, 0, fillCommand)
			for i := first; i < min(first+fillCommand, n); i++ {
				list = append(list, f.volume(i))
			}
			return propose(ctx, run, codec, list)
		})
	}
	f.filled = n
	return group.Wait()
}

func (f *filler) addPools(ctx context.Context, run *node.Node, codec *persistence.Codec) error {
	var list []resources.Resource
	for i := range fillPools {
		id := newID(resources.KindPool)
		f.pools = append(f.pools, resources.PoolID(id))
		list = append(list, &resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, ID: id, Name: fmt.Sprintf("pool-%d", i)},
			Spec: resources.PoolSpec{Driver: simulator},
		})
	}
	return propose(ctx, run, codec, list)
}

func (f *filler) volume(i int) resources.Resource {
	pool := f.pools[i%len(f.pools)]
	return &resources.Volume{
		Meta: resources.Meta{
			Kind: resources.KindVolume, ID: newID(resources.KindVolume), Name: fmt.Sprintf("volume-%07d", i),
			Labels: map[string]string{labelKey: labelValue(i / len(f.pools)), "owner": "team-" + strconv.Itoa(i%1000)},
		},
		Spec: resources.VolumeSpec{SizeBytes: 1 << 30, PoolID: pool, Format: "raw"},
		Status: resources.VolumeStatus{
			PoolID: pool, SizeBytes: 1 << 30,
			Disk: &resources.Disk{Protocol: "sim", Path: "/simulated/" + string(pool) + "/" + strconv.Itoa(i), Format: "raw"},
		},
	}
}

func newID(kind resources.Kind) string {
	var entropy [10]byte
	rand.Read(entropy[:]) // never fails (crypto/rand)
	return resources.NewVocabulary().NewID(kind, time.Now(), entropy)
}

func propose(ctx context.Context, run *node.Node, codec *persistence.Codec, list []resources.Resource) error {
	cmd := &persistence.Bootstrap{}
	for _, r := range list {
		doc, err := codec.Seal(r)
		if err != nil {
			return err
		}
		cmd.Documents = append(cmd.Documents, doc)
	}
	if _, err := run.Propose(ctx, cmd); err != nil {
		return fmt.Errorf("filling: %w", err)
	}
	return nil
}
