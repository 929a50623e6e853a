package host

// Answered is answered, for tests.
func Answered(err error) bool { return answered(err) }

// ResultOf says what became of a call.
var ResultOf = resultOf

// MayCallItself reports whether a program of a version may say that it is another.
func MayCallItself(version, said string) bool { return Manifest{Version: version}.isVersion(said) }
