package cli

func clusterKind() kind {
	description := field{flag: "description", path: "spec.description", usage: "what it is for"}
	return kind{
		name:        "cluster",
		plural:      "clusters",
		short:       "Clusters of hosts",
		named:       true,
		planned:     true,
		suspendable: true,
		deletable:   true,
		columns:     []column{textColumn("DESCRIPTION", "spec.description")},
		create:      []field{description},
		update:      []field{description},
	}
}

func hostKind() kind {
	tags := field{flag: "tag", path: "spec.tags", as: asList, usage: "tag that machines can ask for"}
	closed := field{flag: "unschedulable", path: "spec.unschedulable", as: asSwitch, usage: "keep new machines away"}
	reserved := field{
		flag:  "reserved-memory",
		path:  "spec.reservedMemoryBytes",
		as:    asSize,
		usage: "memory kept for the host itself",
	}
	controller := []field{
		{
			flag: "out-of-band-driver", path: "spec.outOfBand.driver", as: asDriver, kind: "driver",
			usage: "driver of its controller (BMC): its product or name",
		},
		{flag: "out-of-band-node", path: "spec.outOfBand.node", usage: "node that asks its controller"},
		{
			flag: "out-of-band-property", path: "spec.outOfBand.properties", as: asProperties,
			usage: "setting of the driver of its controller, key=value; key=@file reads a file, @- standard input",
		},
	}
	return kind{
		name:        "host",
		plural:      "hosts",
		short:       "Hosts that run machines",
		named:       true,
		planned:     true,
		suspendable: true,
		deletable:   true,
		columns: []column{
			textColumn("DRIVER", "spec.driver"), textColumn("CPUS", "status.cpus"), sizeColumn("MEMORY", "status.memoryBytes"),
			textColumn("ACCELERATOR", "status.accelerator"), nameColumn("CLUSTER", "spec.clusterId", "cluster"),
		},
		filters: []field{
			reference("cluster", "clusterId", "cluster", "only hosts of this cluster"),
			driverFilter("only hosts of this driver"),
			{flag: "node", path: "node", usage: "only hosts driven by this node"},
		},
		create: append([]field{
			driverField(), reference("cluster", "spec.clusterId", "cluster", "cluster it belongs to"),
			nodeField(),
			tags, closed, reserved, properties(),
		}, controller...),
		required: []string{"driver"},
		update:   append([]field{tags, closed, reserved, properties()}, controller...),
		actions:  hostActions(),
	}
}

func hostActions() []action {
	return []action{
		{name: "maintain", short: "Have a host's machines moved, and keep others away", fields: []field{
			{
				flag: "allow-restart", path: "allowRestart", as: asSwitch,
				usage: "restart elsewhere what can't be moved while it runs",
			},
			{flag: "grace", path: "graceSeconds", as: asNumber, usage: "seconds a guest has to shut down by itself"},
			{flag: "at-once", path: "atOnce", as: asNumber, usage: "how many machines are moved at the same time"},
		}},
		{name: "activate", short: "Use a host again after maintenance"},
		{
			name: "power-status", short: "Ask a host's controller whether its power is on", answer: "status.power",
			about: "its controller says that its power is",
		},
		{name: "power-on", short: "Turn the power of a host on"},
		{name: "power-off", short: "Turn the power of a host off", fields: []field{
			{flag: "force", path: "force", as: asSwitch, usage: "although machines run on it"},
		}},
		{name: "fence", short: "Turn the power of a host off that does not answer, as proof that it does not run"},
		{name: "attest-off", short: "Attest that a host does not run", required: []string{"statement"}, fields: []field{
			{flag: "statement", path: "statement", usage: "how you know that it does not run; kept in the audit log"},
		}},
	}
}

func poolKind() kind {
	tags := field{flag: "tag", path: "spec.tags", as: asList, usage: "tag that volumes can ask for"}
	closed := field{flag: "unschedulable", path: "spec.unschedulable", as: asSwitch, usage: "keep new volumes away"}
	over := field{
		flag:  "overcommit",
		path:  "spec.overcommit",
		as:    asDecimal,
		usage: "how many times its space may be promised",
	}
	threshold := field{
		flag:  "used-threshold",
		path:  "spec.usedThreshold",
		as:    asDecimal,
		usage: "share in use that stops new volumes",
	}
	return kind{
		name:        "pool",
		plural:      "pools",
		short:       "Pools that volumes live in",
		named:       true,
		planned:     true,
		suspendable: true,
		deletable:   true,
		stored:      true,
		columns: []column{
			textColumn("DRIVER", "spec.driver"), sizeColumn("USED", "status.usedBytes"), sizeColumn("SIZE", "status.totalBytes"),
			nameColumn("HOST", "spec.hostId", "host"),
		},
		filters: []field{
			driverFilter("only pools of this driver"),
			reference("host", "hostId", "host", "only pools of this host"),
			reference("cluster", "clusterId", "cluster", "only pools of this cluster"),
		},
		create: []field{
			driverField(), nodeField(), properties(), reference("host", "spec.hostId", "host", "the one host that reaches it"),
			reference("cluster", "spec.clusterId", "cluster", "the one cluster that reaches it"),
			{
				flag: "shared", path: "spec.shared", as: asSwitch,
				usage: "its directory is the same one on every node and host agent, at the same path (NFS)",
			},
			tags, closed, over, threshold,
		},
		required: []string{"driver"},
		update:   []field{tags, closed, over, threshold, properties()},
	}
}

func imageStoreKind() kind {
	return kind{
		name: "image-store", plural: "image-stores", short: "Stores that templates live in", named: true, planned: true,
		suspendable: true, deletable: true, stored: true,
		columns: []column{
			textColumn("DRIVER", "spec.driver"), sizeColumn("USED", "status.usedBytes"), sizeColumn("SIZE", "status.totalBytes"),
		},
		filters:  []field{driverFilter("only stores of this driver")},
		create:   []field{driverField(), nodeField(), properties()},
		update:   []field{properties()},
		required: []string{"driver"},
	}
}

// urlUsage names what the driver of image stores may connect to.
const (
	fileUsage = "file to copy: on the host, below the store's property allowPaths; or with --upload on this machine"
	urlUsage  = "where to download it from, on port 80, 443, 8080 or 8443; needs --checksum"
)

func templateKind() kind {
	formats := []string{"raw", "qcow2", "iso"}
	return kind{
		name: "template", plural: "templates", short: "Templates that volumes begin as a copy of", named: true, planned: true,
		suspendable: true, deletable: true, stored: true,
		columns: []column{
			textColumn(
				"FORMAT",
				"spec.format",
			),
			sizeColumn("FILE", "status.fileBytes"),
			sizeColumn("DISK", "status.virtualBytes"),
			nameColumn("STORE", "spec.imageStoreId", "image-store"),
		},
		filters: []field{
			reference("image-store", "imageStoreId", "image-store", "only templates in this store"),
			{flag: "format", path: "format", choices: formats, usage: "only templates of this format"},
		},
		create: []field{
			{flag: "format", path: "spec.format", choices: formats, usage: "what the content is: raw, qcow2 or iso"},
			{flag: "url", path: "spec.url", usage: urlUsage},
			{flag: "file", path: "spec.file", usage: fileUsage},
			{flag: "upload", path: "spec.upload", as: asSwitch, usage: "upload the file from this machine"},
			{flag: "checksum", path: "spec.checksum", usage: "sha256:<hex> or sha512:<hex> of the content"},
			{flag: "max-size", path: "spec.maxBytes", as: asSize, usage: "largest content accepted"},
			reference("image-store", "spec.imageStoreId", "image-store", "store; the only one there is if not given"),
		},
		required: []string{"format"},
	}
}

// policyKind is the rules on who may use which drivers.
func policyKind() kind {
	effects := []string{"allow", "deny"}
	fields := []field{
		{flag: "effect", path: "spec.effect", choices: effects, usage: "allow or deny"},
		{flag: "priority", path: "spec.priority", as: asNumber, usage: "lower comes first, and the first decides"},
		{
			flag: "role", path: "spec.roles", as: asList, choices: []string{"admin", "operator", "reader"},
			usage: "whose use; everybody's if not given",
		},
		{flag: "driver", path: "spec.drivers", as: asList, usage: "driver, vendor/name or vendor/*; all if not given"},
		{
			flag: "category", path: "spec.categories", as: asList,
			choices: []string{"network", "storage", "image", "hypervisor", "out-of-band"},
			usage:   "drivers that serve this category; all if not given",
		},
		{
			flag: "action", path: "spec.actions", as: asList,
			usage: "kind and action, such as volume/create, volume/* or */delete; all if not given",
		},
		{
			flag: "property", path: "spec.properties", as: asList,
			usage: "key of a property that is given a value, * for all; the action itself if not given",
		},
		{flag: "reason", path: "spec.reason", usage: "what somebody who is refused is told besides"},
	}
	return kind{
		name: "policy", plural: "policies", short: "Policies: which roles may use which drivers, for what", named: true,
		planned: true, suspendable: true, deletable: true,
		columns: []column{
			{head: "PRIORITY", path: "spec.priority", none: "0"},
			textColumn("EFFECT", "spec.effect"),
			textColumn("ROLES", "spec.roles"), textColumn("DRIVERS", "spec.drivers"), textColumn("ACTIONS", "spec.actions"),
			textColumn("PROPERTIES", "spec.properties"),
		},
		filters:  []field{{flag: "effect", path: "effect", choices: effects, usage: "only policies with this effect"}},
		create:   fields,
		required: []string{"effect"},
		update:   fields,
	}
}

func driverKind() kind {
	return kind{
		name: "driver", plural: "drivers", short: "Drivers and their processes", deletable: true,
		columns: []column{
			textColumn("PRODUCT", "spec.product"), textColumn("VERSION", "spec.version"),
			textColumn("CATEGORIES", "spec.categories"), textColumn("ENABLED", "spec.enabled"),
			textColumn("CURRENT", "status.current"),
		},
		filters: []field{
			{flag: "product", path: "product", usage: "only versions of this product"},
			{
				flag:    "category",
				path:    "category",
				choices: []string{"network", "storage", "image", "hypervisor", "out-of-band"},
				usage:   "only drivers that serve this category",
			},
			{
				flag: "hypervisor", path: "hypervisor",
				usage: "only drivers that can be used with this hypervisor: its driver, or what that drives, such as qemu",
			},
			{
				flag: "scope", path: "scope", choices: []string{"host", "cluster", "zone"},
				usage: "only storage that can be reached from a whole host, cluster or zone",
			},
			{flag: "operation", path: "operation", usage: "only drivers with settings for an operation, such as volume/create"},
			{flag: "usable", path: "usable", as: asSwitch, usage: "only drivers that policies let you use"},
		},
		update: []field{
			{flag: "enabled", path: "spec.enabled", as: asSwitch, usage: "whether resources can be bound to it"},
			{flag: "current", path: "spec.current", as: asSwitch, usage: "bind new resources of the product to this version"},
			properties(),
		},
	}
}

func tokenKind() kind {
	roles := []string{"admin", "operator", "reader"}
	return kind{
		name: "token", plural: "tokens", short: "Tokens of the API", named: true, deletable: true,
		columns: []column{textColumn("ROLE", "spec.role"), {head: "EXPIRES", path: "spec.expiresAt", as: asText}},
		filters: []field{{flag: "role", path: "role", choices: roles, usage: "only tokens with this role"}},
		create: []field{
			{flag: "role", path: "spec.role", choices: roles, usage: "what it may do: admin, operator or reader"},
			{
				flag:  "expires",
				path:  "spec.expiresAt",
				as:    asTime,
				usage: "when it stops to work: a time, or 24h from now; never if not given",
			},
		},
		required: []string{"role"},
		update:   []field{},
	}
}

func operationKind() kind {
	return kind{
		name: "operation", plural: "operations", short: "Operations and how they go", newestFirst: true,
		columns: []column{
			textColumn("ACTION", "action"), textColumn("KIND", "target.kind"),
			{head: "TARGET", path: "targetName", or: "target.id"},
			textColumn("%", "percent"),
			{head: "MESSAGE", path: "message", or: "error.message", as: asWords},
		},
		filters: []field{
			{flag: "target", path: "targetId", usage: "only operations on the resource with this id"},
			{flag: "target-kind", path: "targetKind", usage: "only operations on resources of this kind"},
			{flag: "action", path: "action", usage: "only operations with this action"},
			{flag: "parent", path: "parentId", usage: "only operations that this one asked for"},
		},
	}
}
