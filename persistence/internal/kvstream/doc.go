// Package kvstream is the form in which a whole store travels: all its keys and values in ascending order, with a
// count and a checksum at the end. Every store writes and loads this same form, so that a snapshot made by one can be
// loaded by another. It must never hold more than one key and value in memory, nor know what they mean.
//
// A stream is a header (4 bytes "BHKV", 1 byte version), then for each key its length, the key, the length of the value
// and the value, then a length of zero, the count of keys, and the CRC-64 (ECMA, big endian) of all bytes before it.
// Lengths and the count are unsigned varints.
package kvstream
