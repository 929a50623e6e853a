package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Succeeded fails the test unless an operation succeeded.
func (z *Zone) Succeeded(op *resources.Operation) {
	z.t.Helper()
	z.Ended(op, resources.PhaseSucceeded)
}

// Failed fails the test unless an operation failed and was undone.
func (z *Zone) Failed(op *resources.Operation) { z.t.Helper(); z.Ended(op, resources.PhaseFailed) }

// Ended fails the test unless an operation is in a phase, and tells its journal then.
func (z *Zone) Ended(op *resources.Operation, want resources.Phase) {
	z.t.Helper()
	if op.Phase != want {
		z.t.Fatalf("%s of %s is %s, want %s: %v\n%s", op.Action, op.Target, op.Phase, want, op.Error, told(op))
	}
}

func told(op *resources.Operation) (text string) {
	for _, s := range op.Steps {
		text += fmt.Sprintf("  step %s: %s, %d attempts, %v\n", s.Name, s.State, s.Attempts, s.Error)
	}
	return text + "  " + op.Message
}

// Is fails the test unless a resource is in a phase.
func (z *Zone) Is(ref resources.Ref, want resources.Phase) {
	z.t.Helper()
	if got := Get[resources.Resource](z, ref).Metadata().Phase; got != want {
		z.t.Errorf("%s is %s, want %s", ref, got, want)
	}
}

// SameToken fails the test unless the calls of a method that were made for the resource that it was last called for
// carried one token, and all after the first one said that they are repeats; and unless there were two at least.
func (z *Zone) SameToken(method string) {
	z.t.Helper()
	var calls []Call
	for _, c := range slices.Backward(z.Calls()) {
		if c.Method == method && (len(calls) == 0 || c.Resource == calls[0].Resource) {
			calls = append(calls, c)
		}
	}
	slices.Reverse(calls)
	if len(calls) < 2 {
		z.t.Errorf("%s was called %d times, want it to be called again", method, len(calls))
		return
	}
	for _, c := range calls[1:] {
		if c.Token != calls[0].Token || !c.Repeat {
			z.t.Errorf("%s of %s was called again with token %q (repeat: %v), at first with %q", method, c.Resource, c.Token,
				c.Repeat, calls[0].Token)
		}
	}
}

// Check fails the test unless the state is consistent in itself, the simulator has what the state says, and the driver,
// asked what there is in each pool, host and network that it serves, tells of all that must be there, of nothing else
// that carries an id of the engine, and of nothing twice; and volumes have the size that the state says.
func (z *Zone) Check() {
	z.t.Helper()
	z.check(true)
}

func (z *Zone) check(complete bool) {
	z.t.Helper()
	z.StartDriver()
	z.inner.CheckState()
	if complete {
		z.inner.CheckTruth()
	}
	for _, owner := range z.owners() {
		z.checkOwner(owner, complete)
	}
}

// owner is a resource of the driver that has others in it.
type owner struct {
	ref    resources.Ref
	acting *version
	handle *driverpb.Handle
	open   map[string]any
	secret map[string]string
	epoch  uint64
	inside []resources.Ref
}

// mustTell are the kinds that Observe has to tell of, by what they are in.
func mustTell() map[resources.Kind]resources.Kind {
	return map[resources.Kind]resources.Kind{
		resources.KindPool: resources.KindVolume, resources.KindHost: resources.KindMachine,
		resources.KindNetwork: resources.KindNic,
	}
}

// owners lists what the driver is asked about.
func (z *Zone) owners() (list []owner) {
	z.t.Helper()
	for kind := range mustTell() {
		all, err := z.inner.List(resources.Query{Kind: kind})
		if err != nil {
			z.t.Fatalf("listing the %ss: %v", kind, err)
		}
		for _, r := range all {
			if must, _ := z.inner.Real(r.Metadata().Ref()); !must {
				continue
			}
			if o, ours := z.owner(r); ours {
				list = append(list, o)
			}
		}
	}
	return list
}

func (z *Zone) owner(r resources.Resource) (o owner, ours bool) {
	z.t.Helper()
	o.ref = r.Metadata().Ref()
	version := ""
	err := z.inner.Machine.View(func(v *persistence.View) error {
		b, bound, err := v.Binding(o.ref)
		if err != nil || !bound {
			return err
		}
		version = b.Version
		if o.acting = z.acting(b.Product, b.Version); o.acting == nil {
			return nil
		}
		ours = true
		o.handle = &driverpb.Handle{Version: b.HandleVersion, Data: b.Handle}
		owners, err := v.Owners()
		if err == nil && len(owners) > 0 {
			o.epoch = owners[persistence.ShardOf(o.ref, len(owners))].Epoch
		}
		return err
	})
	for _, s := range resources.SettingsOf(r) {
		if err == nil && ours && s.Product == o.acting.process.made.Name {
			o.open, o.secret, err = z.inner.Engine().Part(s, version)
		}
	}
	if err == nil && ours {
		o.inside, err = z.inside(o.ref)
	}
	if err != nil {
		z.t.Fatalf("reading %s: %v", o.ref, err)
	}
	return o, ours
}

// inside lists what the state says is in a resource.
func (z *Zone) inside(of resources.Ref) (refs []resources.Ref, err error) {
	all, err := z.inner.List(resources.Query{Kind: mustTell()[of.Kind]})
	for _, r := range all {
		in := ""
		switch r := r.(type) {
		case *resources.Volume:
			in = string(r.Status.PoolID)
		case *resources.Machine:
			in = string(r.Status.HostID)
		case *resources.Nic:
			in = string(r.Spec.NetworkID)
		}
		if in == of.ID {
			refs = append(refs, r.Metadata().Ref())
		}
	}
	return refs, err
}

func (z *Zone) checkOwner(o owner, complete bool) {
	z.t.Helper()
	seen, err := z.observe(o)
	if err != nil {
		z.t.Errorf("asking the driver what is in %s: %v", o.ref, err)
		return
	}
	for ref, times := range seen {
		if _, may := z.inner.Real(ref); !may {
			z.t.Errorf("%s is left in %s: the driver tells of it, and the state does not know of it, or knows that it is not"+
				" there", ref, o.ref)
		}
		if times > 1 {
			z.t.Errorf("%s is %d times in %s", ref, times, o.ref)
		}
	}
	for _, ref := range o.inside {
		must, _ := z.inner.Real(ref)
		if must && seen[ref] == 0 && complete {
			z.t.Errorf("%s is missing in %s: the state knows of it, and the driver does not tell of it", ref, o.ref)
		}
		if must && seen[ref] > 0 && ref.Kind == resources.KindVolume {
			z.checkSize(o, ref)
		}
	}
}

func (z *Zone) checkSize(pool owner, ref resources.Ref) {
	z.t.Helper()
	conn, err := pool.acting.process.connect()
	if err != nil {
		z.t.Errorf("connecting to the driver: %v", err)
		return
	}
	call, err := pool.call(ref)
	if err != nil {
		z.t.Errorf("calling for %s: %v", ref, err)
		return
	}
	err = z.inner.Machine.View(func(v *persistence.View) error {
		b, _, err := v.Binding(ref)
		call.Handle = &driverpb.Handle{Version: b.HandleVersion, Data: b.Handle}
		return err
	})
	if err != nil {
		z.t.Errorf("reading what the driver remembers of %s: %v", ref, err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), observing)
	defer cancel()
	reply, err := driverpb.NewStorageClient(conn).StatVolume(ctx, &driverpb.VolumeRequest{
		Call: call,
		Pool: &driverpb.PoolRef{Resource: &driverpb.Ref{Kind: string(pool.ref.Kind), Id: pool.ref.ID}, Handle: pool.handle},
	})
	if err != nil {
		z.t.Errorf("asking the driver for the size of %s: %v", ref, err)
		return
	}
	if is := Get[*resources.Volume](z, ref).Status.SizeBytes; reply.GetSizeBytes() != is {
		z.t.Errorf("%s has %d bytes, the state says %d", ref, reply.GetSizeBytes(), is)
	}
}

const observing = time.Minute

// observe asks the driver what there is; what carries no id of the engine is somebody else's.
func (z *Zone) observe(o owner) (seen map[resources.Ref]int, err error) {
	conn, err := o.acting.process.connect()
	if err != nil {
		return nil, err
	}
	call, err := o.call(o.ref)
	if err != nil {
		return nil, err
	}
	call.Handle = o.handle
	ctx, cancel := context.WithTimeout(context.Background(), observing)
	defer cancel()
	stream, err := driverpb.NewBaseClient(conn).Observe(ctx, &driverpb.ObserveRequest{Call: call})
	if err != nil {
		return nil, err
	}
	seen = map[resources.Ref]int{}
	for {
		one, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return seen, nil
		}
		if err != nil {
			return nil, err
		}
		if id := one.GetResource().GetId(); id != "" {
			seen[resources.Ref{Kind: resources.Kind(one.GetResource().GetKind()), ID: id}]++
		}
	}
}

// call is what a call for something in it says, but for its handle.
func (o owner) call(ref resources.Ref) (*driverpb.Call, error) {
	properties, err := structpb.NewStruct(o.open)
	return &driverpb.Call{
		Resource: &driverpb.Ref{Kind: string(ref.Kind), Id: ref.ID}, Epoch: o.epoch,
		Properties: properties, Secrets: o.secret,
	}, err
}

// acting is the version that acts for what is bound to it, past the script; nil = the simulator does.
func (z *Zone) acting(product, name string) *version {
	var found *version
	for _, v := range z.all() {
		if made := v.process.made; made.Name == product && (found == nil || made.Version == name) {
			found = v
		}
	}
	return found
}
