package bridgenetwork

import (
	"context"
	"errors"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// asFault says what an error means to the engine. What this driver found wrong itself carries a fault already; the
// rest is the host's refusal to do something, which every call survives being asked again.
func asFault(err error) error {
	switch {
	case err == nil || sdk.FaultOf(err) != nil:
		return err
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return sdk.Denied("not-permitted", err.Error(),
			"give the driver the capabilities its manifest declares: net_admin, sys_admin, dac_override")
	case errors.Is(err, exec.ErrNotFound):
		return sdk.NotFound("program-missing", err.Error(), "install nftables and dnsmasq on the host")
	case errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EMFILE) ||
		errors.Is(err, unix.ENFILE):
		return sdk.Exhausted("host-exhausted", err.Error(), "free memory, space or open files on the host")
	}
	return sdk.Transient("host-refused", err.Error())
}
