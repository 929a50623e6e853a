// Package client is the small HTTP client that the workloads share: it speaks the
// public API and nothing else, and repeats a request, with the same idempotency
// key, until somebody answers it.
package client
