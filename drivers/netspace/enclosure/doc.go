// Package enclosure runs a test program, or another that makes networks and guests to try something out, in namespaces
// of its own: processes, mounts with an empty /run/netns, and the network if it is asked to. What runs there ends with
// it, however it ends, and the namespaces and files in /run that it made are nobody else's. It must never know what is
// tried out, and a server must never run in it: guests outlive a server.
//
// What it cannot take along: control groups and loop devices, which know no namespace, and files in other directories.
package enclosure
