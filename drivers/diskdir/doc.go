// Package diskdir keeps disk files in a directory that belongs to one resource: a mark that tells whose it is and
// whether it is there at all (an unmounted file system leaves an empty directory behind), staging that a crash leaves
// no half-made file of, opening that never follows a symbolic link, and copies that share blocks or at least keep
// holes. It is for drivers whose backend is a directory. It must never know what the files mean, nor the calls of the
// contract; of the SDK it uses the faults alone.
package diskdir
