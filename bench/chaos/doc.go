// Command chaos does random things to a real server through its public API,
// kills the server and its drivers at random moments, and then compares what was
// promised with what there is. What is done follows from the seed.
package main
