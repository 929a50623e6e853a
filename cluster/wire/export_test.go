package wire

// Serve is Open on a listener that is given.
var Serve = serve

// Limits, as they are.
const (
	HandshakeTimeout = handshakeTimeout
	Handshakes       = handshakes
	HandshakesOfOne  = handshakesOfOne
	Waiting          = waiting
)
