// Command plant plants the bugs of the bank, one at a time, and runs what must find
// them. It ends with an error unless all were found, and nothing without any.
package main
