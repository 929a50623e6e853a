package bridgenetwork

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const tunDevice = "/dev/net/tun"

// ensureTap makes a tap that stays without anyone holding it, for uid to open. A tap that is there changes its owner
// if need be, which can't be done while somebody holds it.
func ensureTap(machine *place, name string, uid uint32) (netlink.Link, error) {
	link, err := machine.find(name)
	if err != nil {
		return nil, err
	}
	if tap, ok := link.(*netlink.Tuntap); ok && tap.Owner == uid {
		return link, nil
	}
	err = machine.Do(func() error { return makeTap(name, uid) })
	if errors.Is(err, unix.EBUSY) {
		return nil, sdk.Conflict("tap-in-use", "the tap "+name+" is open and belongs to another user",
			"stop the machine first")
	}
	if err != nil {
		return nil, fmt.Errorf("making the tap %s: %w", name, err)
	}
	link, err = machine.find(name)
	if err == nil && link == nil {
		err = sdk.Transient("link-vanished", "the tap "+name+" vanished")
	}
	return link, err
}

// makeTap works in the network namespace of the calling thread.
func makeTap(name string, uid uint32) error {
	device, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", tunDevice, err)
	}
	defer func() { _ = unix.Close(device) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("naming it: %w", err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(device, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("attaching to it: %w", err)
	}
	if err := unix.IoctlSetInt(device, unix.TUNSETOWNER, int(uid)); err != nil {
		return fmt.Errorf("giving it to user %d: %w", uid, err)
	}
	if err := unix.IoctlSetInt(device, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("making it stay: %w", err)
	}
	return nil
}
