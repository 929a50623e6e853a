// Package units starts data-path processes on behalf of drivers - guests, DHCP servers - so that they are children of
// neither the driver nor the server and outlive both, and finds, inspects and ends them by durable records. It starts
// only what a driver's policy permits, each confined by the sandbox. It knows the contract's Launch and Unit, but not
// what a program does or which resource it serves.
package units
