package join

// ReadQuestion is how a node reads what it is asked.
var ReadQuestion = readQuestion

// Limits, as they are.
const (
	AskTime      = askTime
	MaxMessage   = maxMessage
	Simultaneous = simultaneous
)
