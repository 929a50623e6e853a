// Package durable replaces files so that after a loss of power the old content or the new one is there, whole. It must
// never know what is in them.
package durable
