package units

// Program is one that a driver may have launched as a unit.
type Program struct {
	// Path is absolute.
	Path string `json:"path"`
	// Capabilities a unit may ask for, at most.
	Capabilities []string `json:"capabilities,omitempty"`
	// Devices a unit may ask for, at most.
	Devices []string `json:"devices,omitempty"`
	// Read: what every unit of this program may read, besides the system's libraries.
	Read []string `json:"read,omitempty"`
	// Exec: what it may execute in turn.
	Exec []string `json:"exec,omitempty"`
	// Network permits TCP and UDP, in whatever network namespace it runs.
	Network bool `json:"network,omitempty"`
}

// program finds what may be launched under path.
func (p *Policy) program(path string) (Program, bool) {
	for _, program := range p.Programs {
		if program.Path == path {
			return program, true
		}
	}
	return Program{}, false
}
