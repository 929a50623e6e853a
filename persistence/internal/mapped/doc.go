// Package mapped reads a whole file through a memory map, so that a large one costs no heap. What the disk cannot read
// is a fault then: whoever reads data sets debug.SetPanicOnFault and recovers.
package mapped
