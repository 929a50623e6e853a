package node

import (
	"errors"
	"log/slog"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// connectionRefused tells the operator of a connection that one end did not want, and
// what can be done about it.
func connectionRefused(log *slog.Logger, err error) {
	log.Warn("a connection was refused", slog.Any("error", err), slog.String("remedy", remedyFor(err)))
}

func remedyFor(err error) string {
	const anew = "stop its server; to have it back, remove it, empty its data directory and join it anew"
	switch {
	case errors.Is(err, pki.ErrForeign):
		return "a node of a cluster that was recovered without it, or restored, can't come back as it is: " + anew
	case errors.Is(err, pki.ErrUntrusted):
		return "a node that was away while the authority was changed can't come back as it is: " + anew
	case errors.Is(err, pki.ErrClock):
		return "compare the clocks of all nodes (is NTP running?)"
	case errors.Is(err, pki.ErrNotAllowed):
		return "a node that was removed can't come back as it is: " + anew
	}
	return "see that each node is reached at its own address: bulkhead node list"
}
