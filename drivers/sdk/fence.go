package sdk

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// fenceMemory bounds how many resources' epochs are kept. What falls out is the resource not heard of for longest;
// the fences of the host, which is durable, and of the engine still stand before it.
const fenceMemory = 65536

// resourceKey names a resource inside the SDK.
type resourceKey struct{ kind, id string }

func keyOf(ref *driverpb.Ref) resourceKey {
	return resourceKey{kind: ref.GetKind(), id: ref.GetId()}
}

// fence remembers the highest epoch seen per resource.
type fence struct {
	mutex  sync.Mutex
	limit  int
	seen   map[resourceKey]*list.Element
	recent *list.List // of *fenceMark, most recent first
}

type fenceMark struct {
	key   resourceKey
	epoch uint64
}

func newFence(limit int) *fence {
	return &fence{limit: limit, seen: map[resourceKey]*list.Element{}, recent: list.New()}
}

// admit raises the resource's epoch to that of call, or refuses a lower one with FENCED "stale-epoch".
func (f *fence) admit(call *driverpb.Call) error {
	key, epoch := keyOf(call.GetResource()), call.GetEpoch()
	f.mutex.Lock()
	defer f.mutex.Unlock()
	element, known := f.seen[key]
	if !known {
		f.seen[key] = f.recent.PushFront(&fenceMark{key: key, epoch: epoch})
		f.forgetOldest()
		return nil
	}
	mark, _ := element.Value.(*fenceMark)
	if epoch < mark.epoch {
		return StaleEpoch(key.kind, key.id, epoch, mark.epoch)
	}
	mark.epoch = epoch
	f.recent.MoveToFront(element)
	return nil
}

// StaleEpoch returns the fault of a call with a lower epoch than its resource was called with before.
func StaleEpoch(kind, id string, epoch, highest uint64) error {
	return newFault(&driverpb.Fault{
		Class: driverpb.Class_CLASS_FENCED, Code: "stale-epoch",
		Message: fmt.Sprintf("%s %s was called with epoch %d after epoch %d", kind, id, epoch, highest),
	})
}

func (f *fence) forgetOldest() {
	if f.recent.Len() <= f.limit {
		return
	}
	mark, _ := f.recent.Remove(f.recent.Back()).(*fenceMark)
	delete(f.seen, mark.key)
}
