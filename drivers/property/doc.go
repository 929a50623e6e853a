// Package property is what can be done with the list of settings that a driver describes: check the list, compile it to
// JSON Schema (2020-12) and check values against that, say its texts in the language of a reader, and compare two
// versions of it. A list is compiled once and used for the whole life of the version; only schemas that were made here
// are ever compiled. It must never know where values come from, where they are kept, or who asks, and what it says of
// a value never repeats it: it may be a secret.
package property
