package host

// Answered is answered, for tests.
func Answered(err error) bool { return answered(err) }
