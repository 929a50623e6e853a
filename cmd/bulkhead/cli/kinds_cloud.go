package cli

func networkKind() kind {
	modes := []string{"nat", "isolated", "bridged"}
	servers := field{flag: "dns-server", path: "spec.dnsServers", as: asList, usage: "upstream name server"}
	return kind{
		name: "network", plural: "networks", short: "Networks that connect machines", named: true, planned: true,
		suspendable: true, deletable: true,
		columns: []column{
			textColumn("CIDR", "spec.cidr"), textColumn("MODE", "spec.mode"), textColumn("GATEWAY", "status.gateway"),
			textColumn("DRIVER", "spec.driver"),
		},
		filters: []field{driverFilter("only networks of this driver")},
		create: []field{
			driverField(), nodeField(),
			{flag: "cidr", path: "spec.cidr", usage: "address range, such as 10.20.0.0/24"},
			{flag: "mode", path: "spec.mode", choices: modes, usage: "nat or isolated; bridged where the driver can"},
			{flag: "gateway", path: "spec.gateway", usage: "gateway; the first address if not given"},
			servers,
			{flag: "domain", path: "spec.domain", usage: "DNS domain of the machines"},
			{flag: "mtu", path: "spec.mtu", as: asNumber, usage: "largest packet in bytes"},
			{flag: "no-dhcp", path: "spec.noDhcp", as: asSwitch, usage: "hand out no addresses"},
			{flag: "no-dns", path: "spec.noDns", as: asSwitch, usage: "serve no names"},
			properties(),
		},
		required: []string{"driver", "cidr"},
		update:   []field{servers, properties()},
	}
}

func addressKind() kind {
	return kind{
		name:        "address",
		plural:      "addresses",
		short:       "Addresses taken in networks",
		planned:     true,
		suspendable: true,
		deletable:   true,
		columns: []column{
			textColumn(
				"ADDRESS",
				"status.address",
			),
			nameColumn("NETWORK", "spec.networkId", "network"),
			textColumn("NIC", "status.nicId"),
		},
		filters: []field{
			reference("network", "networkId", "network", "only addresses of this network"),
			reference("nic", "nicId", "nic", "only the address of this nic"),
			{flag: "address", path: "address", usage: "only this address"},
		},
		create: []field{
			reference("network", "spec.networkId", "network", "network to take it in"),
			{flag: "address", path: "spec.address", usage: "the address; the zone chooses if not given"},
		},
		required: []string{"network"},
	}
}

func ruleKind() kind {
	types := []string{"ingress", "egress", "port-forward"}
	return kind{
		name:        "rule",
		plural:      "rules",
		short:       "Firewall rules and port forwards",
		planned:     true,
		suspendable: true,
		deletable:   true,
		columns: []column{
			nameColumn(
				"NETWORK",
				"spec.networkId",
				"network",
			),
			textColumn("TYPE", "spec.type"),
			textColumn("ACTION", "spec.action"),
			textColumn("PROTOCOL", "spec.protocol"),
			textColumn("PORTS", "spec.ports"),
			textColumn("CIDRS", "spec.cidrs"),
			{head: "PRIORITY", path: "spec.priority", none: "0"},
			{head: "LISTEN ADDRESS", path: "status.listenAddress", or: "spec.listenAddress"},
			textColumn("LISTEN PORT", "spec.listenPort"),
			textColumn("TARGET PORT", "spec.targetPort"),
		},
		filters: []field{
			reference("network", "networkId", "network", "only rules of this network"),
			reference("nic", "nicId", "nic", "only forwards to this nic"),
			{flag: "type", path: "type", choices: types, usage: "only rules of this type"},
		},
		create: append([]field{
			{flag: "type", path: "spec.type", choices: types, usage: "ingress, egress or port-forward"},
			reference("network", "spec.networkId", "network", "network; that of the machine if not given"),
		}, ruleFields()...),
		required: []string{"type"},
		update:   ruleFields(),
	}
}

// ruleFields are what of a rule can be given and changed.
func ruleFields() []field {
	return []field{
		{flag: "action", path: "spec.action", choices: []string{"allow", "deny"}, usage: "allow or deny"},
		{
			flag:    "protocol",
			path:    "spec.protocol",
			choices: []string{"tcp", "udp", "icmp", "any"},
			usage:   "tcp, udp, icmp or any",
		},
		{flag: "ports", path: "spec.ports", usage: "port or range, such as 8000-8080"},
		{flag: "cidr", path: "spec.cidrs", as: asList, usage: "far side of the traffic"},
		{flag: "priority", path: "spec.priority", as: asNumber, usage: "lower comes first"},
		reference("nic", "spec.nicId", "nic", "nic that a forward leads to"),
		{flag: "target-port", path: "spec.targetPort", as: asNumber, usage: "port that a forward leads to"},
		{flag: "listen-port", path: "spec.listenPort", as: asNumber, usage: "port that a forward listens on"},
		{flag: "listen-address", path: "spec.listenAddress", usage: "address that a forward listens on"},
	}
}

func nicKind() kind {
	return kind{
		name: "nic", plural: "nics", short: "Nics of machines", suspendable: true,
		columns: []column{
			nameColumn("MACHINE", "spec.machineId", "machine"), nameColumn("NETWORK", "spec.networkId", "network"),
			textColumn("ADDRESS", "status.address"), textColumn("MAC", "status.mac"),
		},
		filters: []field{
			reference("machine", "machineId", "machine", "only nics of this machine"),
			reference("network", "networkId", "network", "only nics in this network"),
			{flag: "address", path: "address", usage: "only the nic with this address"},
		},
		update: []field{},
	}
}

func volumeKind() kind {
	return kind{
		name: "volume", plural: "volumes", short: "Volumes", planned: true, suspendable: true, deletable: true, stored: true,
		columns: []column{
			sizeColumn("SIZE", "status.sizeBytes"), nameColumn("POOL", "status.poolId", "pool"),
			nameColumn("MACHINE", "status.machineId", "machine"),
		},
		filters: []field{
			reference("pool", "poolId", "pool", "only volumes in this pool"),
			reference("machine", "machineId", "machine", "only volumes of this machine"),
			reference("template", "templateId", "template", "only copies of this template"),
		},
		create: []field{
			{flag: "size", path: "spec.sizeBytes", as: asSize, usage: "size, such as 10GiB; that of the source if not given"},
			reference("pool", "spec.poolId", "pool", "pool; the zone chooses if not given"),
			{flag: "pool-tag", path: "spec.poolTags", as: asList, usage: "tag the pool must have"},
			{flag: "format", path: "spec.format", choices: []string{"raw", "qcow2"}, usage: "raw or qcow2"},
			reference("template", "spec.templateId", "template", "template it begins as a copy of"),
			reference("snapshot", "spec.snapshotId", "snapshot", "snapshot it begins as a copy of"),
			reference("host", "spec.hostId", "host", "host that must reach it"), properties(), asked(),
		},
		actions: []action{
			{name: "grow", short: "Make a volume larger", required: []string{"size"}, fields: []field{
				{flag: "size", path: "sizeBytes", as: asSize, usage: "new size, such as 20GiB"}, asked(),
			}},
			{name: "revert", short: "Put a volume back to a snapshot", required: []string{"snapshot"}, fields: []field{
				reference("snapshot", "snapshotId", "snapshot", "snapshot of the volume"), asked(),
			}},
		},
	}
}

func snapshotKind() kind {
	return kind{
		name:        "snapshot",
		plural:      "snapshots",
		short:       "Snapshots of volumes",
		planned:     true,
		suspendable: true,
		deletable:   true,
		stored:      true,
		columns: []column{
			nameColumn(
				"VOLUME",
				"spec.volumeId",
				"volume",
			),
			sizeColumn("SIZE", "status.sizeBytes"),
			textColumn("GROUP", "spec.group"),
		},
		filters: []field{
			reference("volume", "volumeId", "volume", "only snapshots of this volume"),
			reference("pool", "poolId", "pool", "only snapshots in this pool"),
			{flag: "group", path: "group", usage: "only snapshots of this group"},
		},
		create:   []field{reference("volume", "spec.volumeId", "volume", "volume to take it of"), asked()},
		required: []string{"volume"},
	}
}

func machineKind() kind {
	return kind{
		name:        "machine",
		plural:      "machines",
		short:       "Machines",
		named:       true,
		planned:     true,
		suspendable: true,
		deletable:   true,
		stored:      true,
		columns: []column{
			textColumn(
				"CPUS",
				"spec.cpus",
			),
			sizeColumn("MEMORY", "spec.memoryBytes"),
			textColumn("ADDRESSES", "status.addresses"),
			nameColumn("HOST", "status.hostId", "host"),
		},
		filters: []field{
			reference("host", "hostId", "host", "only machines on this host"),
			reference("template", "templateId", "template", "only machines made of this template"),
			{flag: "affinity", path: "affinity", usage: "only machines of this affinity group"},
			{flag: "anti-affinity", path: "antiAffinity", usage: "only machines of this anti-affinity group"},
		},
		create: machineFields(),
		update: []field{
			{
				flag: "recovery", path: "spec.recovery.policy", choices: []string{"restart", "none"},
				usage: "restart: start it elsewhere when its host is lost; none: leave it",
			},
			recoveryPriority(),
		},
		required: []string{"cpus", "memory"},
		actions:  machineActions(),
	}
}

func recoveryPriority() field {
	return field{
		flag: "recovery-priority", path: "spec.recovery.priority", as: asNumber, usage: "higher ones are started first",
	}
}

func machineFields() []field {
	return []field{
		{flag: "cpus", path: "spec.cpus", as: asNumber, usage: "virtual CPUs"},
		{flag: "memory", path: "spec.memoryBytes", as: asSize, usage: "memory, such as 2GiB"},
		reference("template", "spec.root.templateId", "template", "template its disk begins as a copy of"),
		reference("snapshot", "spec.root.snapshotId", "snapshot", "snapshot its disk begins as a copy of"),
		{flag: "disk-size", path: "spec.root.sizeBytes", as: asSize, usage: "size of its disk"},
		{flag: "disk-format", path: "spec.root.format", choices: []string{"raw", "qcow2"}, usage: "format of its disk"},
		reference("pool", "spec.root.poolId", "pool", "pool of its disk; the zone chooses if not given"),
		{flag: "pool-tag", path: "spec.root.poolTags", as: asList, usage: "tag the pool must have"},
		{flag: "volume", path: "spec.volumes", as: asReferences, kind: "volume", usage: "further volume"},
		{
			flag: "network", path: "spec.nics", as: asNics, kind: "network",
			usage: "network to connect to; or network,address=IP or network,address=NAME of a reserved address",
		},
		reference("iso", "spec.isoId", "template", "ISO template in its drive"),
		{
			flag:  "user-data",
			path:  "spec.cloudInit.userData",
			as:    asContent,
			usage: "file with user data for cloud-init; - is standard input",
		},
		{
			flag:  "network-config",
			path:  "spec.cloudInit.networkConfig",
			as:    asContent,
			usage: "file with a network configuration for cloud-init",
		},
		{flag: "firmware", path: "spec.firmware", choices: []string{"bios", "uefi"}, usage: "bios or uefi"},
		reference("host", "spec.placement.hostId", "host", "the one host it may run on"),
		reference("cluster", "spec.placement.clusterId", "cluster", "the one cluster it may run in"),
		{flag: "host-tag", path: "spec.placement.hostTags", as: asList, usage: "tag the host must have"},
		{flag: "affinity", path: "spec.placement.affinity", usage: "group whose machines share a host"},
		{flag: "anti-affinity", path: "spec.placement.antiAffinity", usage: "group whose machines never share a host"},
		{
			flag: "recovery", path: "spec.recovery.policy", choices: []string{"restart"},
			usage: "restart: start it elsewhere when its host is lost",
		},
		recoveryPriority(),
		{flag: "off", path: "spec.off", as: asSwitch, usage: "leave it off once created"},
		properties(), asked(),
	}
}

func machineActions() []action {
	halt := []field{
		{flag: "grace", path: "graceSeconds", as: asNumber, usage: "seconds the guest has to shut down by itself"},
		{flag: "force", path: "force", as: asSwitch, usage: "cut the power when the guest does not shut down by itself"},
		asked(),
	}
	only := []field{asked()}
	volume := reference("volume", "volumeId", "volume", "volume")
	return []action{
		{name: "start", short: "Start a machine", fields: only},
		{name: "stop", short: "Stop a machine", fields: halt},
		{name: "reboot", short: "Reboot a machine", fields: halt},
		{name: "pause", short: "Pause a machine", fields: only},
		{name: "resume", short: "Let a paused machine run on", fields: only},
		{name: "migrate", short: "Move a machine to another host, while it runs", fields: []field{
			reference("host", "hostId", "host", "host to go to; the zone chooses if not given"), asked(),
		}},
		{name: "recover", short: "Start a machine elsewhere whose host is lost and fenced", fields: []field{
			reference("host", "hostId", "host", "host to start it on; the zone chooses if not given"), asked(),
		}},
		{name: "attach-volume", short: "Give a volume to a machine", fields: []field{volume}, required: []string{"volume"}},
		{name: "detach-volume", short: "Take a volume from a machine", fields: []field{volume}, required: []string{"volume"}},
		{
			name: "forget-volume", short: "Take a volume from a machine whose storage is lost",
			fields: []field{volume}, required: []string{"volume"},
		},
		{
			name:     "grow-volume",
			short:    "Make a volume of a machine larger",
			required: []string{"volume", "size"},
			fields: []field{
				volume, {flag: "size", path: "sizeBytes", as: asSize, usage: "new size, such as 20GiB"},
			},
		},
		{name: "attach-nic", short: "Connect a machine to a network", required: []string{"network"}, fields: []field{
			reference("network", "nic.networkId", "network", "network"),
			{
				flag: "address", path: "nic.address", as: asAddress, kind: "address",
				usage: "IP asked for, or a reserved address",
			},
		}},
		{name: "detach-nic", short: "Take a nic from a machine", required: []string{"nic"}, fields: []field{
			reference("nic", "nicId", "nic", "nic"),
		}},
		{name: "snapshot", short: "Snapshot a machine's volumes at one moment", fields: []field{
			{flag: "name", path: "name", usage: "name of the group of snapshots"},
		}},
	}
}
