// Command swapdemo has other versions of the drivers of storage and of guests act, good ones and bad ones, while real
// guests run and their volumes are worked on at a steady rate, and says what the guests and the callers noticed. It
// judges by what callers are answered, by the processes of the guests and by the files of their disks, and must never
// know how a swap is done: it asks for it, as operators do.
package main
