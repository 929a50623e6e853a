// Package netspace keeps named Linux network namespaces the way ip-netns(8) does, as bind mounts in one directory,
// works inside them, and says how that of a machine is called. It knows threads, mounts and sysctls; it must never know
// what a network or a nic is.
package netspace
