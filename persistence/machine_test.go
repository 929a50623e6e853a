package persistence_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// reporter is what tests and property tests have in common.
type reporter interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// zone is a state machine with a zone in it.
type zone struct {
	t       reporter
	machine *persistence.Machine
	store   *memstore.Store
	index   uint64
	now     time.Time
	entries []persistence.Entry
	serial  int
}

func newZone(t reporter) *zone {
	z := emptyZone(t)
	z.must(&persistence.Bootstrap{Documents: []*persistence.Document{z.seal(&resources.Zone{
		Meta:   resources.Meta{Kind: resources.KindZone, ID: "zone-1", Name: "zone"},
		Status: resources.ZoneStatus{Shards: 4},
	})}})
	z.must(&persistence.Place{Node: "n1"})
	return z
}

func emptyZone(t reporter) *zone {
	codec, err := persistence.NewCodec(resources.NewVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	store := memstore.New()
	machine, err := persistence.Open(store, codec)
	if err != nil {
		t.Fatal(err)
	}
	return &zone{t: t, machine: machine, store: store, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (z *zone) seal(r resources.Resource) *persistence.Document {
	d, err := z.machine.Codec().Seal(r)
	if err != nil {
		z.t.Fatal(err)
	}
	return d
}

func (z *zone) entry(cmds ...persistence.Command) persistence.Entry {
	z.index++
	z.now = z.now.Add(time.Second)
	e := persistence.Entry{Index: z.index, At: z.now}
	for _, c := range cmds {
		data, err := z.machine.Codec().EncodeCommand(c)
		if err != nil {
			z.t.Fatal(err)
		}
		e.Commands = append(e.Commands, data)
	}
	z.entries = append(z.entries, e)
	return e
}

func (z *zone) apply(cmds ...persistence.Command) []persistence.Result {
	e := z.entry(cmds...)
	results, err := z.machine.Apply([]persistence.Entry{e})
	if err != nil {
		z.t.Fatal(err)
	}
	return results[0]
}

func (z *zone) must(cmd persistence.Command) persistence.Result {
	r := z.apply(cmd)[0]
	if r.Err != nil {
		z.t.Fatalf("%T: %v", cmd, r.Err)
	}
	return r
}

func (z *zone) view(fn func(v *persistence.View) error) {
	if err := z.machine.View(fn); err != nil {
		z.t.Fatal(err)
	}
}

// submit makes the command of a request; the resource may be nil.
func (z *zone) submit(action string, target resources.Ref, r resources.Resource) *persistence.Submit {
	z.serial++
	op := &resources.Operation{
		Meta:   resources.Meta{Kind: resources.KindOperation, ID: fmt.Sprintf("op-%d", z.serial)},
		Action: action, Target: target, Principal: "tester",
	}
	s := &persistence.Submit{Operation: z.seal(op)}
	if r != nil {
		s.Resource = z.seal(r)
	}
	return s
}

func (z *zone) create(r resources.Resource, instant bool) *persistence.Submit {
	s := z.submit("create", r.Metadata().Ref(), r)
	s.Instant = instant
	return s
}

func pool(id string, size uint64) *resources.Pool {
	return &resources.Pool{
		Meta:   resources.Meta{Kind: resources.KindPool, ID: id, Name: id},
		Spec:   resources.PoolSpec{Driver: "bulkhead/sim"},
		Status: resources.PoolStatus{TotalBytes: size},
	}
}

func volume(id, pool string) *resources.Volume {
	return &resources.Volume{
		Meta:   resources.Meta{Kind: resources.KindVolume, ID: id, Name: id, Labels: map[string]string{"tier": "gold"}},
		Spec:   resources.VolumeSpec{SizeBytes: 1 << 20},
		Status: resources.VolumeStatus{PoolID: resources.PoolID(pool)},
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return resources.AsError(err).Code
}

func (z *zone) fence(ref resources.Ref) persistence.Fence {
	f := persistence.Fence{Shard: persistence.ShardOf(ref, 4), Node: "n1"}
	z.view(func(v *persistence.View) error {
		owners, err := v.Owners()
		f.Epoch = owners[f.Shard].Epoch
		return err
	})
	return f
}

func (z *zone) check() {
	z.view(func(v *persistence.View) error {
		found, err := v.Check()
		for _, f := range found {
			z.t.Errorf("state: %s", f)
		}
		return err
	})
}

func TestARefusedCommandLeavesNoTrace(t *testing.T) {
	z := newZone(t)
	z.must(z.create(pool("pool-1", 1<<30), true))
	before := dump(t, z)
	for name, c := range map[string]struct {
		cmd  persistence.Command
		want string
	}{
		"same name":         {z.create(named(pool("pool-3", 1), "pool-1"), true), "name-taken"},
		"no such reference": {z.create(volume("vol-1", "pool-9"), true), "no-such-reference"},
		"no such action":    {z.submit("fly", resources.Ref{Kind: resources.KindPool, ID: "pool-1"}, nil), "no-such-action"},
		"not there":         {z.submit("delete", resources.Ref{Kind: resources.KindPool, ID: "pool-9"}, nil), "not-found"},
		"stale fence":       {&persistence.Commit{Fence: persistence.Fence{Node: "n1", Epoch: 1}}, "fenced"},
		"unknown operation": {&persistence.Resolve{Operation: "op-99", Resolution: resources.ResolutionCancel}, "not-found"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := code(z.apply(c.cmd)[0].Err); got != c.want {
				t.Errorf("refused with %q, want %q", got, c.want)
			}
			if after := dump(t, z); after != before {
				t.Errorf("the state changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

func named(p *resources.Pool, name string) *resources.Pool {
	p.Name = name
	return p
}

// dump is the whole state but for the index of the last entry.
func dump(t reporter, z *zone) string {
	var b bytes.Buffer
	err := z.store.View(func(r persistence.Reader) error {
		return r.Scan(nil, nil, func(k, v []byte) (bool, error) {
			if string(k) != "m/applied" {
				fmt.Fprintf(&b, "%q=%x\n", k, v)
			}
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAKeyAnswersWithTheFirstOperation(t *testing.T) {
	z := newZone(t)
	first := z.create(pool("pool-1", 1), true)
	first.Key, first.Fingerprint = "key", []byte("a")
	op := z.must(first).Operation
	again := z.create(pool("pool-2", 1), true)
	again.Key, again.Fingerprint = "key", []byte("a")
	result := z.must(again)
	if !result.Repeated || result.Operation.ID != op.ID {
		t.Errorf("repeated = %v, operation %s, want %s", result.Repeated, result.Operation.ID, op.ID)
	}
	other := z.create(pool("pool-3", 1), true)
	other.Key, other.Fingerprint = "key", []byte("b")
	if got := code(z.apply(other)[0].Err); got != "idempotency-key-reused" {
		t.Errorf("another request with the key: %q", got)
	}
	z.check()
}

func TestWhatOthersStandOnIsNotDeleted(t *testing.T) {
	z := newZone(t)
	z.must(z.create(pool("pool-1", 1<<30), true))
	z.must(z.create(volume("vol-1", "pool-1"), true))
	remove := z.submit("delete", resources.Ref{Kind: resources.KindPool, ID: "pool-1"}, nil)
	remove.Instant = true
	if got := code(z.apply(remove)[0].Err); got != "in-use" {
		t.Errorf("deleting a pool with a volume: %q", got)
	}
	for _, ref := range []resources.Ref{
		{Kind: resources.KindVolume, ID: "vol-1"}, {Kind: resources.KindPool, ID: "pool-1"},
	} {
		s := z.submit("delete", ref, nil)
		s.Instant = true
		z.must(s)
	}
	z.check()
}

func TestCapacityIsNeverPromisedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := newZone(t)
		const total = 100
		z.must(z.create(pool("pool-1", total), true))
		holder := resources.Ref{Kind: resources.KindPool, ID: "pool-1"}
		model := map[string]uint64{}
		for i := range 30 {
			id := fmt.Sprintf("vol-%d", rapid.IntRange(0, 5).Draw(t, "volume"))
			owner := resources.Ref{Kind: resources.KindVolume, ID: id}
			if _, there := model[id]; !there {
				z.must(z.create(volume(id, "pool-1"), true))
				model[id] = 0
			}
			amount := rapid.Uint64Range(0, 60).Draw(t, "amount")
			r := persistence.Reservation{Holder: holder, Owner: owner, Amount: resources.Quantities{StorageBytes: amount}}
			cmd := &persistence.Commit{Fence: z.fence(owner)}
			if i%4 == 3 {
				cmd.Release, amount = []persistence.Reservation{r}, 0
			} else {
				cmd.Reserve = []persistence.Reservation{r}
			}
			fits := sum(model)-model[id]+amount <= total || amount <= model[id]
			err := z.apply(cmd)[0].Err
			if fits != (err == nil) {
				t.Fatalf("reserving %d beside %v: %v", amount, model, err)
			}
			if err == nil {
				model[id] = amount
			}
		}
		z.check()
	})
}

func sum(m map[string]uint64) (total uint64) {
	for _, n := range m {
		total += n
	}
	return total
}

func TestNetworksNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := newZone(t)
		var taken []netip.Prefix
		for i := range 25 {
			bits := rapid.IntRange(8, 29).Draw(t, "bits")
			second := rapid.IntRange(0, 3).Draw(t, "second")
			third := rapid.IntRange(0, 255).Draw(t, "third")
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), byte(third), 0}), bits).Masked()
			overlaps := false
			for _, other := range taken {
				overlaps = overlaps || other.Overlaps(p)
			}
			id := fmt.Sprintf("net-%d", i)
			err := z.apply(z.create(&resources.Network{
				Meta: resources.Meta{Kind: resources.KindNetwork, ID: id, Name: id},
				Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: p.String()},
			}, true))[0].Err
			if overlaps != (code(err) == "network-overlaps") {
				t.Fatalf("%s beside %v: %v", p, taken, err)
			}
			if err == nil {
				taken = append(taken, p)
			}
		}
	})
}

func TestChangesOfAKindAreCounted(t *testing.T) {
	z := newZone(t)
	z.must(z.create(pool("p", 1<<30), true))
	pools, volumes := z.machine.Changes(resources.KindPool), z.machine.Changes(resources.KindVolume)
	z.must(z.create(volume("v", "p"), false))
	if z.machine.Changes(resources.KindPool) != pools || z.machine.Changes(resources.KindVolume) == volumes {
		t.Error("a new volume must count as a change of volumes, and not of pools")
	}
	volumes = z.machine.Changes(resources.KindVolume)
	refused := z.apply(z.create(volume("v", "p"), false))[0].Err
	if code(refused) == "" || z.machine.Changes(resources.KindVolume) != volumes {
		t.Error("a refused command must not count")
	}
}
