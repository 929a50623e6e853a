// Package disk is what a store asks of the disk beyond reading and writing: to map a file, to make it durable, to begin
// early. It must never know what is in a file.
package disk
