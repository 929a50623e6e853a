package redfishpower

import (
	"encoding/json"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Complaint is complaint for the tests.
func Complaint(body []byte) string { return complaint(body) }

// PowerIn is the power that a system's document tells.
func PowerIn(document []byte) (driverpb.Power, error) {
	var read system
	err := json.Unmarshal(document, &read)
	return read.power(), err
}
