package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units are the suffixes of sizes. One letter means the binary unit.
func units() map[string]float64 {
	return map[string]float64{
		"": 1, "b": 1,
		"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
		"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	}
}

// parseSize reads a size such as 10GiB, 512M or 1.5TB, in bytes.
func parseSize(text string) (uint64, error) {
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit, known := units()[strings.ToLower(strings.TrimSpace(text[len(number):]))]
	f, err := strconv.ParseFloat(number, 64)
	bytes := f * unit
	if err != nil || !known || f < 0 || bytes > math.MaxInt64 || bytes != math.Trunc(bytes) {
		return 0, fmt.Errorf("must be a size such as 512MiB, 10GiB or 1.5TB, not %q", text)
	}
	return uint64(bytes), nil
}

// formatSize writes a size for people, with three digits at most.
func formatSize(bytes float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB", "TiB"} {
		if bytes < 1024 || unit == "TiB" {
			digits := 0
			if unit != "B" && bytes < 10 && bytes != math.Trunc(bytes) {
				digits = 1
			}
			return strconv.FormatFloat(bytes, 'f', digits, 64) + " " + unit
		}
		bytes /= 1024
	}
	return ""
}
