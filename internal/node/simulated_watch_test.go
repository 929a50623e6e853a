package node_test

import (
	"fmt"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// watch sees each call of a driver twice: as its owner sends it, and as it reaches the driver. The bubble's order is
// that of one clock, so what it sees of two nodes can be compared.
type watch struct {
	mu       sync.Mutex
	found    []string
	sends    map[string]sent   // the highest epoch that was sent, by resource
	finished map[string]uint64 // the highest epoch of calls that were carried out, by resource
	calls    int
	refused  int
}

type sent struct {
	epoch      uint64
	node, what string
}

func newWatch() *watch { return &watch{sends: map[string]sent{}, finished: map[string]uint64{}} }

const findingsKept = 20

func (w *watch) find(format string, arguments ...any) {
	if len(w.found) < findingsKept {
		w.found = append(w.found, fmt.Sprintf(format, arguments...))
	}
}

func nameOf(call *driverpb.Call) string {
	return call.GetResource().GetKind() + "/" + call.GetResource().GetId()
}

// sent: no owner asks for anything after a later one did. That is what the lease is for.
func (w *watch) sent(node, method string, call *driverpb.Call) {
	if call == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	before, name := w.sends[nameOf(call)], nameOf(call)
	if call.GetEpoch() < before.epoch {
		w.find("two owners of %s: %s sent %s with epoch %d after %s sent %s with %d",
			name, node, method, call.GetEpoch(), before.node, before.what, before.epoch)
		return
	}
	w.sends[name] = sent{epoch: call.GetEpoch(), node: node, what: method}
}

// before is the highest epoch that was carried out before a call came to the host.
func (w *watch) before(call *driverpb.Call) uint64 {
	if call == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.finished[nameOf(call)]
}

// executed: nothing is carried out for an owner after something was for a later one. That is what the fence is for.
func (w *watch) executed(call *driverpb.Call, before uint64, err error) {
	if call == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_FENCED {
			w.refused++
		}
		return
	}
	if call.GetEpoch() < before {
		w.find("%s was called with epoch %d after %d, and it was done", nameOf(call), call.GetEpoch(), before)
	}
	w.finished[nameOf(call)] = max(w.finished[nameOf(call)], call.GetEpoch())
}

func (w *watch) findings() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found
}
