// Package agreement holds no code, only the proof and the figures of what the log of package cluster and the store of
// package badgerstore promise together: nothing that was answered is lost, nothing is applied twice. The two must never
// know each other, so neither folder can hold it.
package agreement
