// Package shelf keeps the archives of installed drivers on one member of a cluster: the .car files as they came, to be
// given on, and what they unpack to, to be run. It must never know who is to have them, who runs them, or where they
// come from.
package shelf
