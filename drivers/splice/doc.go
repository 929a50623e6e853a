// Package splice joins two connections to one. It must never know what is said over them.
package splice
