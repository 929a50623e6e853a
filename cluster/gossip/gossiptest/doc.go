// Package gossiptest is a kit for tests: a network in memory that can be cut, lossy and slow, in real or in fake time
// (testing/synctest). It carries packets and streams of bytes; it must never know what is in them.
package gossiptest
