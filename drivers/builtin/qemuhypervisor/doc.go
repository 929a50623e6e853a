// Package qemuhypervisor is the driver bulkhead/qemuhypervisor: it runs machines as QEMU processes and speaks with
// them over QMP. It keeps a machine's sockets, console log and notes in a directory of the machine, so that any
// instance of the driver can go on where another one stopped; it never knows the engine, where volumes and taps come
// from, or which host program runs its QEMUs.
//
// # How a guest outlives everybody
//
// QEMU is launched by the host as the unit "machine-<id>" and is a child of neither driver nor server. All calls open
// a monitor, do their work and close it again: there is no connection to lose. A QEMU whose guest powered off or
// panicked stays, stopped, until StopMachine ends it, so that the reason is never lost, whoever was down meanwhile.
//
// QEMU runs in a network namespace of the machine's own, also while it has no nic: the host's network is out of its
// reach, and a nic can come at any time. The host makes the namespace unless a network driver has.
//
// # What is in a machine's directory
//
//	machine.json   notes: what was asked last, and how far it came (never needed to find the machine)
//	seed.iso       the NoCloud seed
//	variables.fd   UEFI variables
//	console.log    what the serial console printed, bounded
//	q/             QEMU's own: monitors "control" and "status", "serial", "vnc", "pid"
//
// QEMU can write to q/, to console.log, to variables.fd and to its disks, and nothing else.
//
// # The console log
//
// QEMU appends to it without limit. The driver cuts the oldest half off whenever it is larger than the property
// console_log_bytes, every five seconds: in place and without loss where the file system can (ext4, xfs), else by
// copying the newest half, which can lose what is printed in that instant. While no driver runs the log grows at
// most at the speed of an emulated serial port, some 100 KiB/s, and is cut when the driver is back.
//
// # The power button
//
// StopMachine and RebootMachine press it. When the guest is not off in time, and is not cut off, the call fails and the
// guest is to be as it was: a press that it has not noticed is taken back, and a guest that was paused before is paused
// again. What a guest does that has noticed can't be taken back; the fault says that it may still power off later.
//
// # Freezing
//
// FreezeDisks stops all virtual processors and flushes every disk, so that the files hold the state of one instant as
// after a power cut. It needs no help from the guest. The end of the freeze is noted in the machine's directory; a
// driver that starts, for whatever reason, thaws what is due.
package qemuhypervisor
