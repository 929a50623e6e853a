//go:build !race

package attacks_test

// memory is what the hostile driver may have: enough for a driver in Go.
const memory = 256 << 20
