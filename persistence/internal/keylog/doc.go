// Package keylog keeps keys that only grow, and that are removed from the first on, in a log: a row of files, segments,
// to which is only appended. What is written is written once, where a tree of sorted tables copies it from level to
// level. It must never know what keys and values mean, nor which of them are committed: whoever appends notes elsewhere
// where the log ends, and cuts off what is behind.
//
// A segment is named after where in the log it begins, in bytes. It is records: a CRC-32C of the rest, the length of
// the key (2 bytes) and of the value (4 bytes), big endian, key, value. A segment is synced before the next is begun.
package keylog
