// Package settings makes a harness of the conformance kit from a small file, so that a driver in any language can be
// tested without a line of Go: what to test it on, with defaults for what the driver's own description tells. It must
// never know a particular driver.
package settings
