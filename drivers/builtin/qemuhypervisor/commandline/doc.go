// Package commandline says in QEMU's words what a machine is made of: as arguments when QEMU starts, and as arguments
// of QMP commands when a device is plugged in later, both from the same types. Every value comes from a typed field
// that was checked before; nothing is passed on as text to be parsed twice. It is pure: it starts nothing, opens
// nothing, and knows neither the contract nor where files are kept.
package commandline
