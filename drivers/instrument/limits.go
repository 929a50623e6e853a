package instrument

// Limits bound what one driver may tell.
type Limits struct {
	// Bytes of the text, and Lines of it.
	Bytes, Lines int
	// Families are metrics by name, Series all their label sets; a histogram counts one for each bucket.
	Families, Series int
	// Labels of a series, Name and Value the longest name and value of one, in bytes; Help the longest text.
	Labels, Name, Value, Help int
}

// DefaultLimits are those that the contract names, and as much as a page that is read every few seconds bears.
func DefaultLimits() Limits {
	return Limits{
		Bytes: 256 << 10, Lines: 4096, Families: 200, Series: 1000, Labels: 8, Name: 100, Value: 128, Help: 512,
	}
}

// Labels that the host sets, which no series may have itself.
const (
	LabelDriver   = "driver"
	LabelVersion  = "version"
	LabelInstance = "instance"
)
