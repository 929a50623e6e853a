package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what the program was built from; what its builder did not note is empty.
type build struct {
	version, revision, at, compiler string
	changed                         bool
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of this program, and what it was built from", Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			b := buildOf(a.version, info)
			if a.output != formatTable {
				return encode(cmd.OutOrStdout(), a.output, b.fields())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), b)
			return err
		},
	}
}

// buildOf reads what the Go tool noted; nil = nothing.
func buildOf(version string, info *debug.BuildInfo) build {
	b := build{version: version}
	if info == nil {
		return b
	}
	b.compiler = info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.revision = s.Value
		case "vcs.time":
			b.at = s.Value
		case "vcs.modified":
			b.changed = s.Value == "true"
		}
	}
	return b
}

// fields has it for programs.
func (b build) fields() map[string]any {
	all := map[string]any{"version": b.version}
	for name, s := range map[string]string{"revision": b.revision, "committedAt": b.at, "go": b.compiler} {
		if s != "" {
			all[name] = s
		}
	}
	if b.revision != "" {
		all["changed"] = b.changed
	}
	return all
}

// String has it in a line, and what it was built from in another one.
func (b build) String() string {
	line := "bulkhead version " + b.version
	if b.revision == "" {
		return line
	}
	line += "\nbuilt from " + b.revision[:min(len(b.revision), 12)]
	if b.changed {
		line += " and changes"
	}
	return line + prefixed(" of ", b.at) + prefixed(" with ", b.compiler)
}
