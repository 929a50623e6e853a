package qemuhypervisor

import (
	"context"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// OpenConsole implements driverpb.HypervisorServer. The serial console serves one client at a time; the log has what
// it printed before. A machine that was killed has only its log left.
func (h *Hypervisor) OpenConsole(
	ctx context.Context, request *driverpb.ConsoleRequest,
) (*driverpb.ConsoleReply, error) {
	id := request.GetCall().GetResource().GetId()
	reply := &driverpb.ConsoleReply{}
	dir := h.directoryOf(id)
	switch request.GetType() {
	case consoleSerial:
		reply.Socket, reply.Protocol, reply.LogPath = dir.serial(), "stream", dir.log()
	case consoleVNC:
		reply.Socket, reply.Protocol = dir.vnc(), "rfb"
	default:
		return nil, sdk.Unsupported("console-unknown", "there are the consoles serial and vnc")
	}
	m, err := h.look(ctx, id)
	if err != nil {
		return nil, err
	}
	if m.notes == nil || !m.running() && request.GetType() == consoleVNC {
		return nil, sdk.NotFound("machine-not-running", fmt.Sprintf("%s does not run", id), "start it first")
	}
	if !m.running() {
		reply.Socket = ""
	}
	return reply, nil
}
