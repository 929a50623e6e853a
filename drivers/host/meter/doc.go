// Package meter counts what an instance of a driver is called: which methods, with which outcomes, how long that took,
// and for which resources last. What it remembers is bounded however many calls and resources there are: each method
// has a histogram and the last minute's, and of resources only those that were called last are remembered. Counting
// allocates nothing. It must never know what a call means, what a driver is, or who reads the figures.
package meter
