package drivertest

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func storageChecks(h *Harness, can *driverpb.Capabilities) []check {
	all := []check{
		{name: "Storage: OpenPool tells size and use", run: poolStats},
		{name: "Storage: ClosePool of a pool that holds volumes is refused with CONFLICT", run: poolNotEmpty},
		{name: "Storage: a volume in a pool that is not open is refused with NOT_FOUND", run: volumeWithoutPool},
		{name: "Storage: each declared format can be created and is reported", run: volumeFormats},
		{name: "Storage: creating what is there with another shape is refused with CONFLICT", run: volumeOtherShape},
		{
			name: "Storage: a volume without size or of an unknown format is refused with INVALID and the field",
			run:  volumeInvalid,
		},
		{name: "Storage: deleting what is gone succeeds", run: volumeGone},
		{name: "Storage: StatVolume of what is not there is refused with NOT_FOUND", run: volumeAbsent},
		{name: "Storage: an attached volume can be opened and keeps what is written", run: volumeKeeps},
		{name: "Storage: detaching what is not attached succeeds", run: detachTwice},
		{name: "Storage: Observe lists exactly what exists", run: observeVolumes},
		{name: "Storage: Observe of what is not open is refused with NOT_FOUND", run: observeNothing("pool")},
		{name: "Storage: different volumes are served at the same time", run: volumesTogether},
		{name: "Storage: Release and Adopt hand a volume over unharmed", run: adoptVolume},
		{name: "Storage: Adopt of a volume that is gone is refused with NOT_FOUND", run: adoptGone},
	}
	for _, bad := range h.Storage.BadPools {
		all = append(all, badSetting("Storage", "pool", bad))
	}
	all = append(all, unless(given(h.Storage.TooLargeBytes > 0, "size that is too large"),
		check{name: "Storage: a volume larger than the space left is refused with EXHAUSTED", run: volumeTooLarge})...)
	all = append(all, growChecks(can)...)
	all = append(all, snapshotChecks(can)...)
	return append(all, cloneChecks(h, can)...)
}

// badSetting holds a driver to refusing a scope it can't use.
func badSetting(category, kind string, bad BadSetting) check {
	return check{name: category + ": a " + kind + " that can't be used is refused: " + bad.Name, run: func(e *env) {
		in := e.newScope(kind)
		in.properties = bad.Properties(e.T)
		class := bad.Class
		setDefault(&class, driverpb.Class_CLASS_INVALID)
		fault := e.refused(class, openMethod(kind), e.openRequest(in))
		if bad.Code != "" && fault.GetCode() != bad.Code {
			e.Errorf("fault code %s, want %s", fault.GetCode(), bad.Code)
		}
		if class == driverpb.Class_CLASS_INVALID && fault.GetField() == "" {
			e.Errorf("fault %s names no field", fault.GetCode())
		}
		if fault.GetRemedy() == "" {
			e.Errorf("fault %s says no remedy, but an operator can correct the setting", fault.GetCode())
		}
	}}
}

func observeNothing(kind string) func(e *env) {
	return func(e *env) {
		in := scope{ref: e.ref(kind)}
		_, err := e.observe(in)
		if faultOf(err).GetClass() != driverpb.Class_CLASS_NOT_FOUND {
			e.Errorf("got %v, want NOT_FOUND", err)
		}
	}
}

func poolStats(e *env) {
	pool := e.open("pool")
	reply := must[*driverpb.PoolReply](e, driverpb.Storage_StatPool_FullMethodName,
		&driverpb.PoolRequest{Call: e.call(pool.ref, pool)})
	if reply.GetTotalBytes() == 0 || reply.GetUsedBytes() > reply.GetTotalBytes() {
		e.Errorf("the pool has %d bytes, %d used", reply.GetTotalBytes(), reply.GetUsedBytes())
	}
}

func poolNotEmpty(e *env) {
	pool := e.open("pool")
	ref := e.volume(pool)
	fault := e.refused(driverpb.Class_CLASS_CONFLICT, closeMethod("pool"), e.closeRequest(pool))
	if fault.GetCode() != "not-empty" {
		e.Errorf("fault code %s, want not-empty", fault.GetCode())
	}
	e.exists(pool, ref, 1)
}

func volumeWithoutPool(e *env) {
	pool := e.newScope("pool")
	e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Storage_CreateVolume_FullMethodName,
		e.createVolume(pool, e.ref("volume")))
}

func volumeFormats(e *env) {
	pool := e.open("pool")
	formats := e.describe().GetCapabilities().GetVolumeFormats()
	if len(formats) == 0 {
		e.Error("no volume format is declared")
	}
	for _, format := range formats {
		ref := e.ref("volume")
		e.undoVolume(pool, ref)
		request := e.createVolume(pool, ref)
		request.Format = format
		reply := must[*driverpb.VolumeReply](e, driverpb.Storage_CreateVolume_FullMethodName, request)
		if reply.GetSizeBytes() != request.GetSizeBytes() {
			e.Errorf("%s: %d bytes, want %d", format, reply.GetSizeBytes(), request.GetSizeBytes())
		}
		if disk := e.attached(pool, ref); disk.GetFormat() != format {
			e.Errorf("%s: attached as %q", format, disk.GetFormat())
		}
	}
	preferred := e.harness.Storage.Format
	if preferred == "" && len(formats) > 0 {
		preferred = formats[0]
	}
	if disk := e.attached(pool, e.volume(pool)); disk.GetFormat() != preferred {
		e.Errorf("without a format: %q, want the preferred one, %s", disk.GetFormat(), preferred)
	}
}

func volumeOtherShape(e *env) {
	pool := e.open("pool")
	ref := e.volume(pool)
	request := e.createVolume(pool, ref)
	request.SizeBytes *= 2
	e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Storage_CreateVolume_FullMethodName, request)
	if got := e.statVolume(pool, ref).GetSizeBytes(); got != e.harness.Storage.VolumeBytes {
		e.Errorf("the volume that was there has %d bytes now", got)
	}
}

func volumeInvalid(e *env) {
	pool := e.open("pool")
	for _, spoil := range []func(*driverpb.CreateVolumeRequest){
		func(r *driverpb.CreateVolumeRequest) { r.SizeBytes = 0 },
		func(r *driverpb.CreateVolumeRequest) { r.Format = "floppy" },
		func(r *driverpb.CreateVolumeRequest) { r.Format = "../raw" },
	} {
		ref := e.ref("volume")
		e.undoVolume(pool, ref)
		request := e.createVolume(pool, ref)
		spoil(request)
		fault := e.refused(driverpb.Class_CLASS_INVALID, driverpb.Storage_CreateVolume_FullMethodName, request)
		if fault.GetField() == "" {
			e.Errorf("fault %s names no field", fault.GetCode())
		}
		e.exists(pool, ref, 0)
	}
}

func volumeGone(e *env) {
	pool := e.open("pool")
	ref := e.volume(pool)
	remove := driverpb.Storage_DeleteVolume_FullMethodName
	must[*driverpb.OutcomeReply](e, remove, e.volumeRequest(pool, ref))
	must[*driverpb.OutcomeReply](e, remove, e.volumeRequest(pool, ref))
	must[*driverpb.OutcomeReply](e, remove, e.volumeRequest(pool, e.ref("volume")))
}

func volumeAbsent(e *env) {
	pool := e.open("pool")
	e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Storage_StatVolume_FullMethodName,
		e.volumeRequest(pool, e.ref("volume")))
}

func volumeKeeps(e *env) {
	pool := e.open("pool")
	ref := e.volume(pool)
	disk := e.attached(pool, ref)
	if want := e.describe().GetCapabilities().GetProtocol(); disk.GetProtocol() != want {
		e.Errorf("attached by protocol %q, declared is %q", disk.GetProtocol(), want)
	}
	e.write(pool, ref, "kept")
	e.kill()
	e.restart()
	e.holds(pool, ref, "kept")
}

func detachTwice(e *env) {
	pool := e.open("pool")
	ref := e.volume(pool)
	e.detach(pool, ref)
	e.attached(pool, ref)
	e.detach(pool, ref)
	e.detach(pool, ref)
}

func observeVolumes(e *env) {
	pool := e.open("pool")
	if all, err := e.observe(pool); err != nil || len(all) != 0 {
		e.Fatalf("an empty pool shows %v, %v", all, err)
	}
	refs := []*driverpb.Ref{e.volume(pool), e.volume(pool), e.volume(pool)}
	must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteVolume_FullMethodName, e.volumeRequest(pool, refs[1]))
	for _, when := range []string{"while it runs", "after a restart"} {
		all, err := e.observe(pool)
		if err != nil || len(all) != 2 {
			e.Errorf("%s: %v, %v; want two volumes", when, all, err)
		}
		for i, want := range []int{1, 0, 1} {
			found, times := e.observed(pool, refs[i])
			if times != want {
				e.Errorf("%s: volume %d is listed %d times, want %d", when, i, times, want)
			}
			if want == 1 && found.GetBytes() != e.harness.Storage.VolumeBytes {
				e.Errorf("%s: volume %d has %d bytes", when, i, found.GetBytes())
			}
		}
		e.kill()
		e.restart()
	}
}

func volumesTogether(e *env) {
	pool := e.open("pool")
	refs := make([]*driverpb.Ref, e.harness.Limits.Parallel)
	requests, errs := make([]proto.Message, len(refs)), make([]error, len(refs))
	for i := range refs {
		refs[i] = e.ref("volume")
		e.undoVolume(pool, refs[i])
		requests[i] = e.createVolume(pool, refs[i])
	}
	var all sync.WaitGroup
	for i, request := range requests {
		all.Go(func() {
			ctx, cancel := e.patience()
			defer cancel()
			_, errs[i] = e.invoke(ctx, e.conn(), driverpb.Storage_CreateVolume_FullMethodName, request)
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			e.Fatalf("volume %d of %d: %v", i, len(refs), err)
		}
	}
	for _, ref := range refs {
		e.exists(pool, ref, 1)
	}
}

func adoptVolume(e *env) {
	pool := e.open("pool")
	ref := e.volume(pool)
	e.write(pool, ref, "handed over")
	call := e.call(ref, pool)
	must[*driverpb.OutcomeReply](e, driverpb.Base_Release_FullMethodName, &driverpb.ReleaseRequest{Call: call})
	must[*driverpb.OutcomeReply](e, driverpb.Base_Release_FullMethodName,
		&driverpb.ReleaseRequest{Call: e.call(ref, pool)})
	e.kill()
	e.restart()
	e.raise(2)
	for range 2 {
		must[*driverpb.OutcomeReply](e, driverpb.Base_Adopt_FullMethodName,
			&driverpb.AdoptRequest{Call: e.call(ref, pool)})
	}
	reply := must[*driverpb.ProbeReply](e, driverpb.Base_Probe_FullMethodName,
		&driverpb.ProbeRequest{Call: e.call(ref, pool)})
	if reply.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		e.Errorf("an adopted volume is %s: %s", reply.GetHealth(), reply.GetReason())
	}
	e.holds(pool, ref, "handed over")
	e.exists(pool, ref, 1)
}

func adoptGone(e *env) {
	pool := e.open("pool")
	ref := e.volume(pool)
	handle := e.handle(ref)
	must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteVolume_FullMethodName, e.volumeRequest(pool, ref))
	call := e.call(ref, pool)
	call.Handle = handle
	e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Base_Adopt_FullMethodName, &driverpb.AdoptRequest{Call: call})
}

func volumeTooLarge(e *env) {
	pool := e.open("pool")
	ref := e.ref("volume")
	e.undoVolume(pool, ref)
	request := e.createVolume(pool, ref)
	request.SizeBytes = e.harness.Storage.TooLargeBytes
	e.refused(driverpb.Class_CLASS_EXHAUSTED, driverpb.Storage_CreateVolume_FullMethodName, request)
	e.exists(pool, ref, 0)
}
