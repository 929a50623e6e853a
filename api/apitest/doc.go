// Package apitest is a zone in memory for tests of what stands on the API: it
// answers as the engine promises to (door.Reader, door.Engine), ends operations
// at once or when the test says so, and drives nothing. It must never be part of
// a server.
package apitest
