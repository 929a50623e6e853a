// Package cli is the command line: nouns and verbs over a zone's public HTTP
// API, for people (aligned tables, live progress, errors with a remedy) and for
// scripts (JSON, YAML, exit codes). It must never reach a zone in any other way
// than through the client package.
package cli
