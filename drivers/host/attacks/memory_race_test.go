//go:build race

package attacks_test

// memory is what the hostile driver may have: the race detector itself needs much.
const memory = 640 << 20
