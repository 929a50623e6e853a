// Command bulkhead is the whole product in one program: the server, its
// built-in drivers (each run in a process of its own), a development mode, and
// the command line, which speaks only the public API.
package main

import (
	"fmt"
	"os"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/script"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// version is set when a release is built.
var version = "0.1.0-dev" //nolint:gochecknoglobals // the linker sets it

func main() {
	sandbox.RunStageIfAsked() // before anything else: a stage confines itself and becomes another program
	if len(os.Args) == 3 && os.Args[1] == "driver-process" {
		os.Exit(driverProcess(os.Args[2]))
	}
	if dir, ok := script.Asked(); ok {
		os.Exit(script.Main(dir))
	}
	root := cli.New(version)
	root.AddCommand(devCommand(), agentCommand())
	for _, group := range root.Commands() {
		switch group.Name() {
		case "server":
			serverCommand(group)
		case "backup":
			group.AddCommand(restoreCommand(), verifyCommand())
		case "driver":
			group.AddCommand(append(archiveCommands(), stopAllCommand(), driverTestCommand())...)
		case "host":
			group.AddCommand(hostJoinCommand())
		case "token":
			group.AddCommand(resetCommand())
		}
	}
	os.Exit(cli.Run(root))
}

// driverProcess makes this process a built-in driver.
func driverProcess(name string) int {
	for _, b := range node.BuiltIns() {
		if b.Name == name {
			return sdk.Main(b.New)
		}
	}
	fmt.Fprintf(os.Stderr, "bulkhead: there is no built-in driver %q\n", name)
	return 2
}
