package keylog

// SetSegmentBytes sets after how much the next segment is begun.
func (l *Log) SetSegmentBytes(n int64) { l.segmentBytes = n }
