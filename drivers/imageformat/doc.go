// Package imageformat inspects disk images without running anything: whether the bytes of a file are what its owner
// declared them to be (raw, qcow2 or iso), how large the disk in it is, and whether opening it could lead anywhere
// but into the file itself. It reads headers and tables only, treats every byte as hostile, and bounds what it reads
// by the size of the file. It must never open a second file, follow a name found in an image, guess a format to act
// on it, or know who asks.
package imageformat
