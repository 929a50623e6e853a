package pki

import "errors"

// Errors of this package, matched with errors.Is. Those of a handshake name the holder of the certificate.
var (
	// ErrNoIdentity says that a directory has no identity: it never joined a cluster.
	ErrNoIdentity = errors.New("pki: no identity")
	// ErrCorrupt says that a file or a text is not what was written.
	ErrCorrupt = errors.New("pki: corrupt")
	// ErrClock says that a certificate is not valid yet, or no longer, by the clock of this machine.
	ErrClock = errors.New("pki: certificate not valid now")
	// ErrForeign says that a certificate is of another cluster, or of none.
	ErrForeign = errors.New("pki: belongs to another cluster")
	// ErrUntrusted says that a certificate was signed by none of the authorities that are trusted.
	ErrUntrusted = errors.New("pki: not signed by a trusted authority")
	// ErrNotAllowed says that the holder of a good certificate may not connect: it was expelled, or has another role.
	ErrNotAllowed = errors.New("pki: not allowed")
	// ErrOtherName says that somebody else of the cluster answered than was called.
	ErrOtherName = errors.New("pki: not who was called")
	// ErrPin says that a server is not of the cluster that a join token is for, or its authority was changed since.
	ErrPin = errors.New("pki: not the pinned authority")
	// ErrTokenCutOff says that the end of a join token is missing.
	ErrTokenCutOff = errors.New("pki: join token is cut off")
	// ErrTokenMistyped says that a text is not a join token as it was made.
	ErrTokenMistyped = errors.New("pki: join token is mistyped")
	// ErrTokenVersion says that a join token was made by a program of another version.
	ErrTokenVersion = errors.New("pki: join token of another version")
)
