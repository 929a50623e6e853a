package ipmipower

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

const guidBytes = 16

// lines are the lines of a text that say something.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, strings.ToValidUTF8(line, "?"))
		}
	}
	return all
}

func containsAny(line string, words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(line, word) })
}

// harmless tells whether a line is about what ipmitool tries of itself before it does what it was told.
func harmless(line string) bool {
	return containsAny(line, []string{
		"Channel Cipher Suites", "Invalid completion code received", "HPM.x Capabilities", "IANA PEN",
	})
}

// parsePower reads what "chassis power status" says. What is not exactly on or off is unknown.
func parsePower(out string) driverpb.Power {
	said := lines(out)
	if len(said) == 0 {
		return driverpb.Power_POWER_UNKNOWN
	}
	switch said[len(said)-1] {
	case "Chassis Power is on":
		return driverpb.Power_POWER_ON
	case "Chassis Power is off":
		return driverpb.Power_POWER_OFF
	}
	return driverpb.Power_POWER_UNKNOWN
}

// parseGUID reads the 16 bytes of a GUID and returns it in the three orders that controllers are known to use: of
// SMBIOS (what dmidecode shows), of RFC 4122, and of IPMI, last byte first. A GUID of nothing but one byte is none.
func parseGUID(out string) []string {
	raw, err := hex.DecodeString(strings.Join(strings.Fields(out), ""))
	if err != nil || len(raw) != guidBytes || !slices.ContainsFunc(raw, func(b byte) bool { return b != raw[0] }) {
		return nil
	}
	smbios := slices.Clone(raw)
	slices.Reverse(smbios[0:4])
	slices.Reverse(smbios[4:6])
	slices.Reverse(smbios[6:8])
	reversed := slices.Clone(raw)
	slices.Reverse(reversed)
	return []string{uuid(smbios), uuid(raw), uuid(reversed)}
}

func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// parseFRU reads the serial numbers, the model and the manufacturer out of "fru print 0".
func parseFRU(out string) (serials []string, model, manufacturer string) {
	for _, line := range lines(out) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if value == "" {
			continue
		}
		switch strings.TrimSpace(key) {
		case "Product Serial", "Chassis Serial", "Board Serial":
			serials = append(serials, value)
		case "Product Name":
			model = value
		case "Product Manufacturer":
			manufacturer = value
		}
	}
	return serials, model, manufacturer
}
