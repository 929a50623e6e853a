package node_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// clientPause is how long at most a client waits after one wish was accepted, before the next.
const clientPause = 1500 * time.Millisecond

// load is what clients do to a zone.
type load struct {
	s       *simulation
	over    atomic.Bool
	clients sync.WaitGroup

	mu       sync.Mutex
	accepted map[string]string // operation by idempotency key
	volumes  []string
}

const simulatedClient = "client"

// newLoad makes what the clients need, and sets one going at each node.
func (s *simulation) newLoad(random *rand.Rand) *load {
	l := &load{s: s, accepted: map[string]string{}}
	for i, name := range simulatedNames {
		l.insist(i, "pool-"+name, creationOf(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "pool-" + name},
			Spec: resources.PoolSpec{Driver: "bulkhead/sim", Node: name},
		}))
		l.insist(i, "host-"+name, creationOf(&resources.Host{
			Meta: resources.Meta{Kind: resources.KindHost, Name: "host-" + name},
			Spec: resources.HostSpec{Driver: "bulkhead/sim", Node: name},
		}))
	}
	s.await("pools and hosts are there", s.ended(l.operations()))
	for i := range simulatedNames {
		seed := random.Uint64()
		l.clients.Go(func() { l.client(i, rand.New(rand.NewPCG(seed, 3))) })
	}
	return l
}

func creationOf(r resources.Resource) resources.Submission {
	return resources.Submission{Action: "create", Target: resources.Ref{Kind: r.Metadata().Kind}, Resource: r}
}

func (l *load) client(i int, random *rand.Rand) {
	for k := 0; !l.over.Load(); k++ {
		key := fmt.Sprintf("c%d-%d", i, k)
		s := l.choose(key, random)
		if op := l.insist(i, key, s); op != nil && s.Action == "create" && s.Target.Kind == resources.KindVolume {
			l.mu.Lock()
			l.volumes = append(l.volumes, op.Target.ID)
			l.mu.Unlock()
		}
		time.Sleep(time.Duration(random.Int64N(int64(clientPause))))
	}
}

func (l *load) choose(name string, random *rand.Rand) resources.Submission {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := len(l.volumes)
	switch choice := random.IntN(10); {
	case choice < 2 && known > 0:
		at := random.IntN(known)
		id := l.volumes[at]
		l.volumes = append(l.volumes[:at], l.volumes[at+1:]...)
		return resources.Submission{Action: "delete", Target: resources.Ref{Kind: resources.KindVolume, ID: id}}
	case choice < 5 && known > 0:
		return creationOf(&resources.Snapshot{
			Meta: resources.Meta{Kind: resources.KindSnapshot, Name: name},
			Spec: resources.SnapshotSpec{VolumeID: resources.VolumeID(l.volumes[random.IntN(known)])},
		})
	case choice < 6:
		return creationOf(&resources.Machine{
			Meta: resources.Meta{Kind: resources.KindMachine, Name: name},
			Spec: resources.MachineSpec{CPUs: 1, MemoryBytes: 1 << 30, Root: &resources.RootDisk{SizeBytes: 1 << 30}},
		})
	default:
		return creationOf(&resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume, Name: name}, Spec: resources.VolumeSpec{SizeBytes: 1 << 30},
		})
	}
}

// insist asks one node after the other, with the same key, until it is known whether an operation was accepted; nil =
// it was refused.
func (l *load) insist(first int, key string, s resources.Submission) *resources.Operation {
	s.IdempotencyKey, s.Fingerprint, s.Origin = key, []byte(key), resources.Origin{Principal: simulatedClient}
	for k := first; l.s.ctx.Err() == nil; k++ {
		system := l.s.nodes[simulatedNames[k%len(simulatedNames)]].asked()
		if system == nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		op, err := system.Engine().Submit(ctx, s)
		cancel()
		switch resources.ClassOf(err) {
		case resources.ClassUnknown, resources.ClassUnavailable, resources.ClassInternal:
			time.Sleep(50 * time.Millisecond)
			continue
		default:
		}
		if err != nil {
			return nil
		}
		l.mu.Lock()
		l.accepted[key] = op.ID
		l.mu.Unlock()
		return op
	}
	return nil
}

func (l *load) operations() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.accepted)
}

// stop stops the clients, and returns what was accepted.
func (l *load) stop() map[string]string {
	l.over.Store(true)
	l.clients.Wait()
	return l.operations()
}

// ended reports whether operations have.
func (s *simulation) ended(accepted map[string]string) func() bool {
	left := maps.Clone(accepted)
	return func() bool {
		err := s.nodes["n1"].machine.View(func(v *persistence.View) error {
			for key, id := range left {
				op, err := v.Operation(resources.OperationID(id))
				if err != nil || !op.Ended() {
					return nil //nolint:nilerr // it is not known there yet
				}
				delete(left, key)
			}
			return nil
		})
		return err == nil && len(left) == 0
	}
}
