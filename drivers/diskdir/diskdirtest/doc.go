// Package diskdirtest gives tests real file systems: small images made and mounted for one test, unmounted in its
// cleanup. It needs root. It must never touch a device it did not make.
package diskdirtest
