package ipmipower

import "github.com/bulkhead-cloud/bulkhead/drivers/driverpb"

// ParsePower is parsePower for the tests.
func ParsePower(out string) driverpb.Power { return parsePower(out) }

// ParseGUID is parseGUID for the tests.
func ParseGUID(out string) []string { return parseGUID(out) }

// ParseFRU is parseFRU for the tests.
func ParseFRU(out string) (serials []string, model, manufacturer string) { return parseFRU(out) }

// Fault is the fault that is made of what a failed run said.
func Fault(words string) error { return (&controller{}).fault(words) }

// Missing is what the driver says where ipmitool is not installed.
func Missing() error { return ipmitool{}.ready() }
