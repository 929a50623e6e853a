package host_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/meter"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// counted finds the figures of a method.
func counted(t *testing.T, i *host.Instance, method string) meter.Method {
	t.Helper()
	for _, m := range i.Meter().Figures().Methods {
		if m.Name == method {
			return m
		}
	}
	t.Fatalf("nothing was counted of %s", method)
	return meter.Method{}
}

func TestCallsAreCounted(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	for n := range 3 {
		must(t, instance, []string{"a", "b", "c"}[n], "echo", "hello")
	}
	if _, err := do(bounded(t), instance, "d", "fail"); err == nil {
		t.Fatal("what is to fail did not")
	}
	created := counted(t, instance, "Storage.CreateVolume")
	if created.Calls[meter.OK] != 3 || created.Calls["exhausted"] != 1 || created.Took.Count() != 4 ||
		created.Took.Sum <= 0 || created.InFlight != 0 {
		t.Errorf("got %+v", created)
	}
	one, known := instance.Meter().Resource("volume", "vol-d")
	if !known || one.Failed != 1 || one.Failure.Code != "no-space" || one.Failure.Message != "full" {
		t.Errorf("of the resource: %+v, %t", one, known)
	}
	if usage := instance.Usage(); usage.MemoryBytes == 0 && instanceHas(t, h, cgroup.Memory) {
		t.Error("the memory of a process is not known, though its group counts it")
	}
	ctx, cancel := context.WithCancel(bounded(t))
	hanging := make(chan error, 1)
	go func() {
		_, err := do(ctx, instance, "e", "hang")
		hanging <- err
	}()
	until(t, "the call is in flight", func() bool { return counted(t, instance, "Storage.CreateVolume").InFlight == 1 })
	cancel()
	<-hanging
	created = counted(t, instance, "Storage.CreateVolume")
	if created.Calls[meter.Canceled] != 1 || created.InFlight != 0 {
		t.Errorf("after a cancel: %+v", created)
	}
	if err := h.Stop(bounded(t), instance.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := do(bounded(t), instance, "f", "echo"); err == nil {
		t.Fatal("what is stopped answers")
	}
	f := instance.Meter().Figures()
	if last := f.Failures[len(f.Failures)-1]; last.Code != "driver-unavailable" || last.ID != "vol-f" || f.Waiting != 0 {
		t.Errorf("the last failure is %+v, %d wait", last, f.Waiting)
	}
	if usage := instance.Usage(); usage != (cgroup.Usage{}) {
		t.Errorf("what does not run uses %+v", usage)
	}
}

// instanceHas reports whether groups of processes can do something here.
func instanceHas(t *testing.T, h *host.Host, mechanism string) bool {
	t.Helper()
	for _, i := range h.Instances() {
		for _, missing := range i.Report().Missing {
			if missing.Mechanism == mechanism {
				return false
			}
		}
	}
	return true
}

func TestStreamsAreCounted(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	observe := func(ctx context.Context) driverpb.Base_ObserveClient {
		observing, err := driverpb.NewBaseClient(instance.Conn()).Observe(ctx, &driverpb.ObserveRequest{
			Call: &driverpb.Call{Resource: &driverpb.Ref{Kind: "pool", Id: "p"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return observing
	}
	observing := observe(bounded(t))
	for {
		if _, err := observing.Recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	got := counted(t, instance, "Base.Observe")
	if got.Calls[meter.OK] != 1 || got.InFlight != 0 || got.Took.Count() != 1 {
		t.Errorf("got %+v", got)
	}
	if one, known := instance.Meter().Resource("pool", "p"); !known || one.Method != "Base.Observe" {
		t.Errorf("of the resource: %+v, %t", one, known)
	}
	left, leave := context.WithCancel(bounded(t))
	observe(left)
	leave()
	until(t, "a stream that was left is counted", func() bool {
		return counted(t, instance, "Base.Observe").Calls[meter.Canceled] == 1
	})
}

// TestSecretsAreNotRemembered has a driver that does not keep them to itself.
func TestSecretsAreNotRemembered(t *testing.T) {
	request := &driverpb.VolumeRequest{Call: &driverpb.Call{Secrets: map[string]string{"password": "hunter2hunter2"}}}
	failure := host.ResultOf(request, sdk.Denied("denied", "no access with hunter2hunter2", ""))
	if strings.Contains(failure.Message, "hunter2") || failure.Code != "denied" || failure.Outcome != "denied" {
		t.Errorf("got %+v", failure)
	}
}

func TestADriverTellsWhatItCounts(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	counting := started(t, h, manifest(t, "test/one", "count"), host.Setup{})
	silent := started(t, h, manifest(t, "test/two"), host.Setup{})
	must(t, counting, "a", "echo", "hello")
	if own := counting.Own(); !own.At.IsZero() {
		t.Errorf("it was asked by nobody and says %+v", own)
	}
	h.Gather(bounded(t))
	own := counting.Own()
	if own.Err != nil || len(own.Reading.Families) != 1 || own.Reading.Families[0].GetName() != "echoes_total" ||
		own.Reading.Families[0].GetMetric()[0].GetCounter().GetValue() != 1 {
		t.Fatalf("it tells %+v", own)
	}
	if own := silent.Own(); !own.None || own.Err != nil {
		t.Errorf("what counts nothing tells %+v", own)
	}
	if err := h.Stop(bounded(t), counting.Name()); err != nil {
		t.Fatal(err)
	}
	if own := counting.Own(); !own.At.IsZero() {
		t.Errorf("what does not run tells %+v", own)
	}
}

func TestHostileMetricsHoldNobodyUp(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	hostile := map[string]*host.Instance{}
	for n, behaviour := range []string{"count-as-another", "count-too-much", "count-never", "count-once"} {
		name := []string{"test/one", "test/two", "test/three", "test/four"}[n]
		hostile[behaviour] = started(t, h, manifest(t, name, behaviour), host.Setup{})
	}
	good := started(t, h, manifest(t, "test/five", "count"), host.Setup{})
	ctx, cancel := context.WithTimeout(bounded(t), 2*time.Second)
	h.Gather(ctx)
	cancel()
	if own := good.Own(); len(own.Reading.Families) != 1 {
		t.Errorf("beside hostile ones it tells %+v", own)
	}
	if own := hostile["count-never"].Own(); !own.At.IsZero() {
		t.Errorf("what never answers tells %+v", own)
	}
	another := hostile["count-as-another"].Own()
	if len(another.Reading.Families) != 1 || len(another.Reading.Refused) != 1 ||
		!strings.Contains(another.Reading.Refused[0].String(), "the label driver is the host's") {
		t.Errorf("what says it is another tells %+v", another)
	}
	if own := hostile["count-too-much"].Own(); own.Err == nil || len(own.Reading.Families) > 0 {
		t.Errorf("what tells too much tells %+v", own)
	}
	once := hostile["count-once"]
	until(t, "it is asked again, fails, and what it said stays", func() bool {
		h.Gather(bounded(t))
		own := once.Own()
		return own.Failures > 0 && own.Err != nil && len(own.Reading.Families) == 1
	})
	must(t, hostile["count-never"], "z", "echo", "it still works")
}
