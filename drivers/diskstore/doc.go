// Package diskstore is what resources that are a directory of disk files have in common, as a pool and an image store
// do: their properties, their handle, how they are opened, closed and probed, the room that is left in them, and what
// is foreign there. It must never know which files a driver keeps in its folders, nor touch them but through diskdir.
package diskstore
