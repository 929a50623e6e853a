package drivertest

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// operationMethods are the calls that an operation comes to for a driver, by the scope of its settings. Those of moving
// machines need two hosts and are made with the settings elsewhere.
func operationMethods() map[string]string {
	return map[string]string{
		"volume/create":   driverpb.Storage_CreateVolume_FullMethodName,
		"volume/grow":     driverpb.Storage_GrowVolume_FullMethodName,
		"volume/revert":   driverpb.Storage_RevertSnapshot_FullMethodName,
		"snapshot/create": driverpb.Storage_CreateSnapshot_FullMethodName,
		"machine/create":  driverpb.Hypervisor_StartMachine_FullMethodName,
		"machine/start":   driverpb.Hypervisor_StartMachine_FullMethodName,
		"machine/stop":    driverpb.Hypervisor_StopMachine_FullMethodName,
		"machine/reboot":  driverpb.Hypervisor_RebootMachine_FullMethodName,
		"machine/pause":   driverpb.Hypervisor_PauseMachine_FullMethodName,
		"machine/resume":  driverpb.Hypervisor_ResumeMachine_FullMethodName,
		"machine/migrate": driverpb.Hypervisor_ReceiveMachine_FullMethodName,
		"machine/recover": driverpb.Hypervisor_StartMachine_FullMethodName,
	}
}

// operationChecks hold a driver to the settings that it describes for single operations.
func operationChecks(h *Harness, a *about) []check {
	why := ""
	if !slices.ContainsFunc(a.properties, forOperation) {
		why = "the driver describes no property of an operation"
	}
	return []check{
		{
			name: "Base: a setting for an operation is of one that the driver declares it can do", why: why,
			run: func(e *env) { operationsDeclared(e, a) },
		},
		{
			name: "Base: each value that the description allows for an operation is taken, or refused with its field",
			why:  why, run: func(e *env) { operationValues(e, steps(h, a.can)) },
		},
	}
}

func forOperation(p *driverpb.Property) bool { return strings.Contains(p.GetScope(), "/") }

// operationsDeclared asserts that who is offered a setting can give it.
func operationsDeclared(e *env, a *about) {
	can := a.can
	declared := map[string]bool{
		"volume/grow": can.GetGrow(), "volume/revert": can.GetSnapshots(), "snapshot/create": can.GetSnapshots(),
		"machine/pause": can.GetPause(), "machine/resume": can.GetPause(), "machine/migrate": can.GetLiveMigration(),
	}
	serves := map[string]driverpb.Category{
		"volume": driverpb.Category_CATEGORY_STORAGE, "snapshot": driverpb.Category_CATEGORY_STORAGE,
		"machine": driverpb.Category_CATEGORY_HYPERVISOR,
	}
	for _, p := range a.properties {
		kind, _, operation := strings.Cut(p.GetScope(), "/")
		does, optional := declared[p.GetScope()]
		switch {
		case !operation:
		case !slices.Contains(a.hello.GetCategories(), serves[kind]):
			e.Errorf("%s is described for %s, and the driver serves no %ss", p.GetKey(), p.GetScope(), kind)
		case optional && !does:
			e.Errorf("%s is described for %s, which its capabilities do not declare", p.GetKey(), p.GetScope())
		}
	}
}

// operationValues makes each call once with each value.
func operationValues(e *env, all []step) {
	for _, p := range e.harness.about.properties {
		at := slices.IndexFunc(all, func(s step) bool { return s.method == operationMethods()[p.GetScope()] })
		if !forOperation(p) || at < 0 {
			continue
		}
		for _, value := range allowed(p) {
			e.doneWith(all[at], p, value)
		}
	}
}

// doneWith makes a call with one setting for its operation, twice: what was taken once is taken again.
func (e *env) doneWith(s step, p *driverpb.Property, value *structpb.Value) {
	e.Helper()
	d := s.setUp(e)
	call := callOf(d.request)
	if call.Properties == nil {
		call.Properties = &structpb.Struct{}
	}
	if call.Properties.Fields == nil {
		call.Properties.Fields = map[string]*structpb.Value{}
	}
	call.Properties.Fields[p.GetKey()] = value
	_, err := e.try(s.method, d.request)
	e.sensible(p, value, err)
	if err != nil {
		return
	}
	d.reached()
	if _, err := e.try(s.method, repeated(d.request)); err != nil {
		e.Errorf("%s = %v was taken, and refused when it was asked again: %v", p.GetKey(), value.AsInterface(), err)
	}
}
