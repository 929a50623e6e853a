// Command run measures a node, or three of one zone, as users meet them: processes
// with the real log and the real state on disk, asked through their public API. It
// prints one JSON object per line and judges nothing but its own targets.
package main
