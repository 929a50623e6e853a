// Package sealing encrypts a backup to the people who may read it, while it is written, and opens it for who has an
// identity of theirs. The format is age's (age-encryption.org/v1), so that the age program opens what is sealed here.
// It holds one chunk in memory and writes no file. It must never know what it seals, and what it says of keys must
// never repeat them: a secret key may have been given where a public one belongs.
package sealing
