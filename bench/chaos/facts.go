package main

import (
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// fact is what the state says of hardware that has it as well: the size of a volume or a
// snapshot, the addresses of a nic.
type fact struct {
	bytes        uint64
	mac, address string
}

// noteFact notes what the hardware must agree with.
func (c *checker) noteFact(kind resources.Kind, r map[string]any) {
	if !slices.Contains([]resources.Kind{resources.KindVolume, resources.KindSnapshot, resources.KindNic}, kind) {
		return
	}
	status, _ := r["status"].(map[string]any)
	size, _ := status["sizeBytes"].(float64)
	f := fact{bytes: uint64(size)}
	f.mac, _ = status["mac"].(string)
	f.address, _ = status["address"].(string)
	c.facts[fmt.Sprint(r["id"])] = f
}

// compareFacts looks that the state says of hardware what is so.
func (c *checker) compareFacts(truth *simworld.Truth) {
	for _, o := range truth.Objects(simworld.KindVolume, simworld.KindSnapshot, simworld.KindNic) {
		if !c.isReal(o.Kind, o.ID) {
			continue
		}
		has, says := fact{bytes: o.Bytes}, c.facts[o.ID]
		if o.Kind == simworld.KindNic && o.Detail != nil {
			has = fact{mac: o.Detail.Mac, address: o.Detail.Address}
		}
		if has != says {
			c.find(&c.report.Broken, "%s %s is %+v, and the state says %+v", o.Kind, o.ID, has, says)
		}
	}
}
