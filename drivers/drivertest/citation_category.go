package drivertest

func storageCitations() []citation {
	shape := said(storageFile+"Storage",
		"All calls are idempotent by resource id and token: creating what is there with the same shape succeeds, "+
			"deleting what is gone succeeds.")
	attach := said(storageFile+"Storage.AttachVolume",
		"AttachVolume makes the volume reachable for a host and says how to open it; DetachVolume is the reverse.")
	return []citation{
		{"Storage", "OpenPool tells", said(storageFile+"Storage.OpenPool",
			"OpenPool checks that the pool's backend is usable and prepares it.")},
		{"Storage", "that can't be used", said(storageFile+"Storage.OpenPool",
			`Fails with code "path-missing", "path-not-writable", "unreachable" ...`)},
		{"Storage", "ClosePool of", said(storageFile+"Storage.ClosePool",
			`ClosePool removes what OpenPool prepared. Fails with CONFLICT "not-empty" when volumes are left.`)},
		{"Storage", "not open", said(storageFile+"Storage.OpenPool",
			"Called when the pool is created and after each start of an instance.")},
		{"Storage", "declared format", said(baseFile+"Capabilities.volume_formats",
			`Volume formats ("raw", "qcow2"), the preferred one first.`)},
		{"Storage", "another shape", shape},
		{"Storage", "deleting what is gone", shape},
		{"Storage", "StatVolume of what is not there", said(baseFile+"CLASS_NOT_FOUND", "What it needs is not there.")},
		{"Storage", "keeps what is written", attach},
		{"Storage", "can be opened", attach},
		{"Storage", "detaching", attach},
		{"Storage", "GrowVolume", said(storageFile+"Storage.GrowVolume",
			"GrowVolume makes the volume at least this large; never smaller.")},
		{"Storage", "RevertSnapshot", said(storageFile+"Storage.RevertSnapshot",
			"RevertSnapshot puts the volume back to the snapshot. Snapshots taken later stay.")},
		{"Storage", "while the volume is attached", said(baseFile+"Capabilities.online_snapshots",
			"Snapshot, revert and delete work while the volume is attached.")},
		{"Storage", "snapshot", said(storageFile+"Storage.CreateSnapshot",
			"The resource of the call is the snapshot; its volume is named beside it.")},
		{"Storage", "from an image", said(storageFile+"Image",
			"Image is a template's content, readable at a path on the host. The format is declared, never guessed.")},
		{"Storage", "EXHAUSTED", said(baseFile+"CLASS_EXHAUSTED", "No space, no memory, no address left.")},
	}
}

func imageCitations() []citation {
	return []citation{
		{"Images", "checksum", importSentence()},
		{"Images", "imported template", importSentence()},
		{"Images", "larger than allowed", importSentence()},
	}
}

func moveCitations() []citation {
	runsOn := said(hypervisorFile+"Hypervisor.SendMachine",
		"Until then the guest runs on here: if the other side or the socket is lost, and if the caller cancels.")
	return []citation{
		{"Hypervisor", "never runs here again", said(hypervisorFile+"Hypervisor.SendMachine",
			"a guest that moved never runs here again, also after a restart of the driver, and StopMachine takes away "+
				"what is left of it.")},
		{"Hypervisor", "taken away by a stop", said(hypervisorFile+"Hypervisor.ReceiveMachine",
			"What waits is taken away by StopMachine with force.")},
		{"Hypervisor", "does not say how it runs", said(hypervisorFile+"Hypervisor.ReceiveMachine",
			"The call's handle is the one that the machine has where it runs: a host that can't run it refuses with "+
				"CONFLICT")},
		{"Hypervisor", "a machine moves", said(hypervisorFile+"Hypervisor.ReceiveMachine",
			"Repeated, it says where the machine is waited for, or that it runs by now.")},
		{"Hypervisor", "a stream that breaks", runsOn},
		{"Hypervisor", "in the middle of a move", runsOn},
	}
}

func hypervisorCitations() []citation {
	gone := said(hypervisorFile+"Hypervisor",
		"A machine is defined by StartMachine and gone after StopMachine; what must outlive it (disks, addresses) is "+
			"elsewhere.")
	return []citation{
		{"Hypervisor", "OpenHost", said(hypervisorFile+"HostReply.accelerator", `"kvm" or "tcg", by really starting one.`)},
		{"Hypervisor", "runs on when the driver is killed", said(hypervisorFile+"Hypervisor",
			"A guest must go on running when the driver exits or is killed.")},
		{"Hypervisor", "never started", gone},
		{"Hypervisor", "stopped machine is gone", gone},
		{"Hypervisor", "does not run", gone},
		{"Hypervisor", "another shape", said(hypervisorFile+"Hypervisor", "Calls are idempotent by machine id and token.")},
		{"Hypervisor", "EXHAUSTED", said(baseFile+"CLASS_EXHAUSTED", "No space, no memory, no address left.")},
		{"Hypervisor", "statistics", said(hypervisorFile+"MachineReply.reason",
			"Why it is not running, if the guest ended by itself")},
		{"Hypervisor", "graceful stop", said(hypervisorFile+"StopMachineRequest",
			"Graceful: press the power button and wait; then, and only if force is set, cut the power. With grace 0 and "+
				"force set: cut at once.")},
		{"Hypervisor", "frozen disks", said(hypervisorFile+"Hypervisor.FreezeDisks",
			"Freeze holds all writes of a running machine so that snapshots of its disks are consistent with each "+
				"other; Thaw lets them go on.")},
		{"Hypervisor", "consoles", said(hypervisorFile+"Hypervisor.OpenConsole",
			"OpenConsole says where the console is reachable on the host.")},
	}
}

func networkCitations() []citation {
	create := said(networkFile+"Networks.CreateNetwork",
		"Asked again with other dns_servers it uses those from then on, with its nics and rules untouched; any other "+
			"difference is a CONFLICT.")
	nic := said(networkFile+"Networks.AttachNic",
		"AttachNic makes the port, its DHCP lease and its anti-spoofing rules, and puts a tap into the machine's network "+
			"namespace.")
	return []citation{
		{"Networks", "DesignNetwork completes", said(networkFile+"Networks.DesignNetwork",
			"DesignNetwork checks and completes a network's spec without touching the world.")},
		{"Networks", "each declared mode", said(baseFile+"CLASS_UNSUPPORTED",
			"The driver does not do this. Must agree with its capabilities.")},
		{"Networks", "with another spec", create},
		{"Networks", "an attached nic says", said(networkFile+"NicReply",
			"Where the hypervisor finds the tap: the machine's own namespace (see MachineSpec.net_namespace), which a "+
				"machine without nics is in already.")},
		{"Networks", "with another address", said(networkFile+"Networks.AttachNic",
			"Asked again for a nic that is there it may find another value of secondary, which holds from then on; any "+
				"other difference is a CONFLICT.")},
		{"Networks", "a nic ", nic},
		{"Networks", "ApplyRules", said(networkFile+"Networks.ApplyRules",
			"ApplyRules sets the network's whole rule set in one atomic change.")},
		{"Networks", "gone succeeds", said(networkFile+"Networks", "Calls are idempotent by resource id and token.")},
	}
}

func outOfBandCitations() []citation {
	off := said(outOfBandFile+"OutOfBand.PowerOff",
		"It succeeds only with what the controller said after the cut: that the power is off.")
	return []citation{
		{"OutOfBand", "turning a host off and on is declared", said(baseFile+"CLASS_UNSUPPORTED",
			"The driver does not do this. Must agree with its capabilities.")},
		{"OutOfBand", "StatPower", said(outOfBandFile+"OutOfBand.StatPower",
			"StatPower asks the controller now: no answer comes from a memory.")},
		{"OutOfBand", "success of PowerOff", off},
		{"OutOfBand", "left alone", said(outOfBandFile+"OutOfBand.PowerOff", "A host that is off already is a success.")},
		{"OutOfBand", "never carried out again", said(baseFile+"Call.token",
			"Asked twice with one token a driver does the thing once and answers twice.")},
		{"OutOfBand", "that is no host", said(outOfBandFile+"OutOfBand",
			`The resource of every call is the host (kind "host").`)},
		{"OutOfBand", "does not confirm", said(outOfBandFile+"OutOfBand.PowerOff",
			`It is asked again until it says so, as long as the driver's properties and the call's deadline allow; then, `+
				`and whenever the controller is lost on the way, the outcome is UNKNOWN "power-unconfirmed".`)},
		{"OutOfBand", "shutdown that is ignored", said(outOfBandFile+"OutOfBand.ShutDownHost",
			`A host that is still on then is a CONFLICT "shutdown-ignored"; nothing else is tried.`)},
		{"OutOfBand", "the power stays", said(outOfBandFile+"OutOfBand",
			`A driver that was given the identity of a host (UUID, serial number) asks the controller for it before every `+
				`call, and refuses with INVALID "another-host" if it is another: a mistyped address never turns off `+
				`somebody else's host.`)},
	}
}

// lastCitations catch what the ones before leave.
func lastCitations() []citation {
	return []citation{
		{"", "CONFLICT", said(baseFile+"CLASS_CONFLICT", "Something else is there already, or in use.")},
		{"", "NOT_FOUND", said(baseFile+"CLASS_NOT_FOUND", "What it needs is not there.")},
		{"", "gone succeeds", said(baseFile+"Call.token",
			"Asked twice with one token a driver does the thing once and answers twice.")},
		{"", "tells size and use", said(imageFile+"Images", "Images keeps image stores and the templates in them.")},
		{"", "that can't be used", said(baseFile+"CLASS_INVALID", "The request is wrong; never repeat it.")},
	}
}
