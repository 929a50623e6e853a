// Package api is what a zone says to the world: HTTP routes with their bodies
// and errors, the OpenAPI document, the event stream, consoles and uploads. It
// takes requests apart, has the door decide who may do what, checks input, and
// turns answers into JSON that never holds a secret. It decides nothing else:
// it must never know how resources are stored, replicated, placed or driven.
package api
