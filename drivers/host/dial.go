package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Dial connects to a unix socket that an instance named, as the one a console is reached by. The server may connect
// anywhere, and neither a driver nor what it launched may make use of that: the socket has to be in the work directory
// of a unit and be served by that unit's process, or in the driver's own one and be served by the driver's. Errors
// carry a fault: DENIED "socket-foreign" when it is anything else.
func (h *Host) Dial(ctx context.Context, name, path string) (net.Conn, error) {
	instance, ok := h.Instance(name)
	if !ok {
		return nil, fmt.Errorf("connecting to %s: no such instance", name)
	}
	if !filepath.IsAbs(path) {
		return nil, sdk.Denied("socket-foreign", fmt.Sprintf("the driver named %q, which is no absolute path", path), "")
	}
	conn, err := h.units.Dial(ctx, fileName(instance.manifest.Name), path)
	if conn == nil && err == nil {
		conn, err = instance.dial(ctx, path)
	}
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, process.ErrForeign):
		return nil, sdk.Denied("socket-foreign", fmt.Sprintf("%s is not what the driver said: %v", path, err),
			"see who made it: the server connects only to the process that it launched itself")
	case errors.Is(err, os.ErrNotExist):
		return nil, sdk.NotFound("socket-missing", path+" is not there", "")
	}
	return nil, sdk.Transient("socket-unreachable", fmt.Sprintf("connecting to %s: %v", path, err))
}

// dial connects to a socket that the instance's process itself serves in the driver's work directory.
func (i *Instance) dial(ctx context.Context, path string) (net.Conn, error) {
	i.mutex.Lock()
	current := i.run
	i.mutex.Unlock()
	if current == nil {
		return nil, sdk.Transient("driver-unavailable", fmt.Sprintf("driver %s is %s", i.name, i.State()))
	}
	asked := i.host.layout.workDir(i.manifest.Name)
	real, err := filepath.EvalSymlinks(asked) // only the server can make links on this way
	if err != nil {
		return nil, fmt.Errorf("resolving the work directory of %s: %w", i.name, err)
	}
	for _, dir := range []string{asked, real} {
		if rest, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rest) && rest != "." {
			own, is := current.process.(*process.Process)
			if !is {
				return nil, fmt.Errorf("the driver is attached, and its process is not known here: %w", process.ErrForeign)
			}
			return process.DialBelow(ctx, real, rest, own)
		}
	}
	return nil, fmt.Errorf("it is in no directory of the driver's: %w", process.ErrForeign)
}
