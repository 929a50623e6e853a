//go:build !amd64

package attacks_test

// architectureAttacks make calls by numbers of another architecture; there is none here.
func architectureAttacks() []attack { return nil }
