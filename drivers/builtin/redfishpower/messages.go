package redfishpower

import (
	"embed"
	"io/fs"
)

//go:embed messages/*.json
var messageFiles embed.FS

// Messages are the texts of the driver's properties, in messages/<language>.json.
func Messages() fs.FS { return messageFiles }
