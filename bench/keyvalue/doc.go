// Package keyvalue is three nodes of what the state of a zone stands on, the log that nodes agree on and the store that
// it is applied to, as the product sets them up, with nothing of a zone on top: its commands are puts. It shows what
// these two cost where another store of keys and values does the same work. It must never know what is measured with
// it, nor be used by the product.
package keyvalue
