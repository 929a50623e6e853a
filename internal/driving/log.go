package driving

import (
	"context"
	"fmt"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// logBytes is how much of a log is looked at for its last lines.
const logBytes = 256 << 10

// Log implements relay.Meters. A version whose processes were ended, or that is in quarantine, has its log still, until
// it is uninstalled.
func (d *Drivers) Log(_ context.Context, product, number string, lines int) (*resources.InstanceLog, error) {
	asked := Version{product, number}
	one, here := d.here(asked)
	if here {
		number = one.manifest.Version
	} else if _, troubled := d.troubleOf(asked); !troubled {
		return nil, nil //nolint:nilnil // there is no instance
	}
	tail, err := d.host.LogTail(product, number, logBytes)
	if err != nil {
		return nil, fmt.Errorf("reading what %s printed: %w", asked, err)
	}
	return &resources.InstanceLog{Node: d.node, Lines: lastLines(string(tail), lines)}, nil
}

// lastLines are at most so many of a text.
func lastLines(text string, most int) []string {
	if text == "" || most <= 0 {
		return []string{}
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return lines[max(len(lines)-most, 0):]
}
