// Package seed writes the disk from which cloud-init learns about its machine: the NoCloud form, an ISO 9660 file
// system labelled "cidata" with the files meta-data, user-data and network-config. It knows this format only, never
// what the files say, who asks, or how the disk is attached.
package seed
