// Package door is the one way into a zone for the API: it tells who is asking
// (bearer tokens), what they may do (roles with their rights, and policies), and hands out
// a Grant for each thing that was allowed. What changes something is held to the
// zone's policies, once, before it is handed to the engine. Resources can be read, listed and
// changed only through methods that demand a Grant, and a Grant can be made only
// here, so a route that forgets to ask can do nothing. It must never know HTTP
// routes, bodies or how the zone is stored and driven.
package door
