package commandline

// Nic is one network card of a machine.
type Nic struct {
	// ID is what the names are made from.
	ID string
	// MAC is the guest's address.
	MAC string
	// Interface is the tap on the host, which exists already.
	Interface string
	// MTU is told to the guest; 0 = not.
	MTU uint32
}

type nicBackend struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	IfName     string `json:"ifname"`
	Script     string `json:"script"`
	DownScript string `json:"downscript"`
	VHost      bool   `json:"vhost"`
}

type nicDevice struct {
	Driver  string `json:"driver"`
	ID      string `json:"id"`
	Bus     string `json:"bus"`
	NetDev  string `json:"netdev"`
	MAC     string `json:"mac"`
	HostMTU uint32 `json:"host_mtu,omitempty"`
	// ROMFile is empty: machines boot from disks only.
	ROMFile string `json:"romfile"`
}

// Backend is the argument of netdev_add.
func (n *Nic) Backend() any {
	return nicBackend{Type: "tap", ID: NicBackend(n.ID), IfName: n.Interface, Script: "no", DownScript: "no"}
}

// Device is the argument of device_add for the slot bus.
func (n *Nic) Device(bus string) any {
	return nicDevice{
		Driver: "virtio-net-pci", ID: NicDevice(n.ID), Bus: bus, NetDev: NicBackend(n.ID), MAC: n.MAC, HostMTU: n.MTU,
	}
}
