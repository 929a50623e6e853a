package keylog

// LoseDisk has all that is done to the last segment fail.
func (l *Log) LoseDisk() error { return l.chain.last().file.Close() }
