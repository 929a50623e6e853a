// Package lab is a place of its own on this machine in which nodes can be cut off from each other and have their
// disks fail: namespaces for processes, mounts and networks, that end with the process that made them and leave
// nothing. It knows interfaces, packet filters and file systems; it must never know what a node is.
package lab
