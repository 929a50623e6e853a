package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// printer prints lines.
type printer struct{}

func (p *printer) print(line any) error {
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// note tells people how far something long has come; it is no part of the results.
func (p *printer) note(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// machine is the first line: figures mean nothing without it.
func (p *printer) machine() error {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return fmt.Errorf("reading the load: %w", err)
	}
	return p.print(map[string]any{
		"bench": "machine", "cpus": runtime.NumCPU(), "model": fieldOf("/proc/cpuinfo", "model name"),
		"memory": fieldOf("/proc/meminfo", "MemTotal"), "go": runtime.Version(), "arch": runtime.GOARCH,
		"loadavg": strings.TrimSpace(string(load)), "at": time.Now().UTC().Format(time.RFC3339),
	})
}

// fieldOf returns what is behind the colon in the first line of a file that
// begins with a name; "" if there is none.
func fieldOf(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// millis is a duration as it is printed.
func millis(d time.Duration) float64 { return rounded(float64(d) / float64(time.Millisecond)) }

// rounded leaves three digits behind the point.
func rounded(x float64) float64 { return float64(int64(x*1000+0.5)) / 1000 }

// quantile returns the value that a share of the sorted durations stays below.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func sorted(list []time.Duration) []time.Duration {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
