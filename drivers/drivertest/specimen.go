package drivertest

import (
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// specimen is a resource of a category, not made yet, with how it is made and taken away again.
type specimen struct {
	in      scope // what it is observed in
	ref     *driverpb.Ref
	makes   string // methods
	removes string
	create  func(e *env) proto.Message
	remove  func(e *env) proto.Message
	// operates is something to do to it while it is there, the nth time; it tells what is wrong with the answer. Driver
	// and engine may change between two times.
	operates func(e *env, call *driverpb.Call, n int) error
}

// kind is a category with its specimens.
type kind struct {
	category string
	setUp    func(e *env) specimen
}

func kinds(h *Harness) []kind {
	var all []kind
	if h.Storage != nil {
		all = append(all, kind{"Storage", someVolume})
	}
	if h.Images != nil {
		all = append(all, kind{"Images", someTemplate})
	}
	if h.Hypervisor != nil {
		all = append(all, kind{"Hypervisor", someMachine})
	}
	if h.Networks != nil {
		all = append(all, kind{"Networks", someNetwork})
	}
	return all
}

// made makes the specimen.
func (s specimen) made(e *env) {
	e.Helper()
	must[proto.Message](e, s.makes, s.create(e))
}

// gone takes it away.
func (s specimen) gone(e *env) {
	e.Helper()
	must[proto.Message](e, s.removes, s.remove(e))
}

// there asserts how often it is there.
func (s specimen) there(e *env, want int) {
	e.Helper()
	if s.in.ref == s.ref { // a network is in nothing
		method, request := driverpb.Networks_StatNetwork_FullMethodName, s.remove(e)
		if want == 0 {
			e.refused(driverpb.Class_CLASS_NOT_FOUND, method, request)
		} else {
			must[*driverpb.NetworkReply](e, method, request)
		}
		e.reallyExists(s.ref, want)
		return
	}
	e.exists(s.in, s.ref, want)
}

func someVolume(e *env) specimen {
	e.Helper()
	pool, ref := e.open("pool"), e.ref("volume")
	e.undoVolume(pool, ref)
	s := specimen{
		in: pool, ref: ref,
		makes: driverpb.Storage_CreateVolume_FullMethodName, removes: driverpb.Storage_DeleteVolume_FullMethodName,
		create: func(e *env) proto.Message { return e.createVolume(pool, ref) },
		remove: func(e *env) proto.Message { return e.volumeRequest(pool, ref) },
	}
	size := e.harness.Storage.VolumeBytes
	s.operates = func(e *env, call *driverpb.Call, n int) error {
		return expects(e, driverpb.Storage_StatVolume_FullMethodName,
			&driverpb.VolumeRequest{Call: call, Pool: e.poolRef(pool)}, func(reply *driverpb.VolumeReply) bool {
				return reply.GetSizeBytes() == size
			})
	}
	if e.describe().GetCapabilities().GetGrow() {
		s.operates = func(e *env, call *driverpb.Call, n int) error {
			request := &driverpb.GrowVolumeRequest{
				Call: call, Pool: e.poolRef(pool), SizeBytes: size + uint64(n)*mebibyte,
			}
			return expects(e, driverpb.Storage_GrowVolume_FullMethodName, request, func(reply *driverpb.VolumeReply) bool {
				return reply.GetSizeBytes() == request.GetSizeBytes()
			})
		}
	}
	return s
}

func someTemplate(e *env) specimen {
	e.Helper()
	store, ref := e.open("image-store"), e.ref("template")
	source := e.harness.Images.Good(e.T)
	return specimen{
		in: store, ref: ref,
		makes: driverpb.Images_ImportTemplate_FullMethodName, removes: driverpb.Images_DeleteTemplate_FullMethodName,
		create: func(e *env) proto.Message { return e.importRequest(store, ref, source) },
		remove: func(e *env) proto.Message { return e.templateRequest(store, ref) },
		operates: func(e *env, call *driverpb.Call, _ int) error {
			return expects(e, driverpb.Images_StatTemplate_FullMethodName,
				&driverpb.TemplateRequest{Call: call, Store: e.storeRef(store)}, func(reply *driverpb.TemplateReply) bool {
					return reply.GetPath() != "" && reply.GetFormat() == source.GetFormat()
				})
		},
	}
}

func someMachine(e *env) specimen {
	e.Helper()
	g := e.planned(e.open("host"))
	s := specimen{
		in: g.host, ref: g.ref,
		makes: driverpb.Hypervisor_StartMachine_FullMethodName, removes: driverpb.Hypervisor_StopMachine_FullMethodName,
		create: func(e *env) proto.Message { return e.start(g) },
		remove: func(e *env) proto.Message { return e.cut(g) },
	}
	pauses := e.describe().GetCapabilities().GetPause()
	s.operates = func(e *env, call *driverpb.Call, n int) error {
		method, state := driverpb.Hypervisor_StatMachine_FullMethodName, "running"
		switch {
		case pauses && n%2 == 1:
			method, state = driverpb.Hypervisor_PauseMachine_FullMethodName, "paused"
		case pauses:
			method = driverpb.Hypervisor_ResumeMachine_FullMethodName
		}
		return expects(e, method, &driverpb.MachineRequest{Call: call, Host: e.hostRef(g.host)},
			func(reply *driverpb.MachineReply) bool { return reply.GetState() == state })
	}
	return s
}

func someNetwork(e *env) specimen {
	e.Helper()
	w := e.designed()
	s := specimen{
		in: w.scope, ref: w.ref,
		makes: driverpb.Networks_CreateNetwork_FullMethodName, removes: driverpb.Networks_DeleteNetwork_FullMethodName,
		create: func(e *env) proto.Message { return e.networkRequest(w) },
		remove: func(e *env) proto.Message { return e.networkRequest(w) },
	}
	firewall := e.describe().GetCapabilities().GetFirewall()
	s.operates = func(e *env, call *driverpb.Call, n int) error {
		if !firewall {
			return expects(e, driverpb.Networks_StatNetwork_FullMethodName,
				&driverpb.NetworkRequest{Call: call, Network: w.spec}, func(*driverpb.NetworkReply) bool { return true })
		}
		rule := &driverpb.Rule{
			Resource: e.ref("rule"), Type: "ingress", Action: "allow", Protocol: "tcp",
			PortFrom: uint32(1 + n%1000), PortTo: uint32(1 + n%1000),
		}
		return expects(e, driverpb.Networks_ApplyRules_FullMethodName, &driverpb.RulesRequest{
			Call: call, Network: &driverpb.NetworkRef{Resource: w.ref, Handle: call.GetHandle()}, Spec: w.spec,
			Rules: []*driverpb.Rule{rule},
		}, func(*driverpb.OutcomeReply) bool { return true })
	}
	return s
}
