package units

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// makeNamespace makes the network namespace at path unless it is there, and answers with where the unit is to run:
// nowhere else than the server where that may make none, since then no network driver could put anything into it.
func (l *Launcher) makeNamespace(ctx context.Context, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	spaces := netspace.OpenDirectory(filepath.Dir(path))
	unlock, err := spaces.Lock(ctx)
	if err == nil {
		defer unlock()
		err = spaces.Ensure(filepath.Base(path))
	}
	if errors.Is(err, fs.ErrPermission) {
		l.set.config.Log.Warn("unit runs in the server's network namespace, since the server may make none",
			slog.String("error", err.Error()))
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("making the network namespace: %w", err)
	}
	return path, nil
}

// dropNamespace takes the name of a namespace that was made for the unit away, unless something is left in it.
func (u *unit) dropNamespace(ctx context.Context, path string) {
	if path == "" {
		return
	}
	if err := netspace.OpenDirectory(filepath.Dir(path)).RemoveVacant(ctx, filepath.Base(path)); err != nil {
		u.log(err).Warn("unit's network namespace can't be removed")
	}
}
