// Package client speaks a zone's public HTTP API: requests with retries that do
// nothing twice, problems as errors, the event stream with reconnection, uploads
// and consoles. It must never know how the command line looks, nor anything of
// the server but what its API document says.
package client
