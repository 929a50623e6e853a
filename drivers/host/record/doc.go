// Package record keeps small JSON documents on disk so that a crash at any instant leaves the old or the new one. It
// knows nothing of what they mean.
package record
