package host

// Answered is answered, for tests.
func Answered(err error) bool { return answered(err) }

// ResultOf says what became of a call.
var ResultOf = resultOf
