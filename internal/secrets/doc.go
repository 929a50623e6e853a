// Package secrets seals values that must not lie in clear on a disk: each resource has a data key, which seals its
// values and lies beside them, sealed by a key of a keyring. A value opens only for the resource and the field it was
// sealed for. When a key of the ring is replaced, data keys are wrapped anew, and values stay as they are. It must
// never know what a value means or where it is kept, and nothing it says repeats a value or a key.
package secrets
