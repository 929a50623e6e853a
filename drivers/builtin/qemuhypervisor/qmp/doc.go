// Package qmp speaks the QEMU Machine Protocol: JSON lines over a unix socket. It opens a monitor, runs one or many
// commands at a time, and hands out events. It knows the protocol only: never which command means what, nor machines,
// handles or the contract.
package qmp
