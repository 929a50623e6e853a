// Package hosted starts drivers for the conformance kit as a server does: by package host, in the sandbox of their
// manifest, with a user of their own and only what they are permitted. It knows manifests; it must never know what is
// checked, nor the engine.
package hosted
