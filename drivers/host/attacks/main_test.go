package attacks_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// Roles of this program, by its first argument.
const (
	roleHostile = "attacks-hostile"
	roleServer  = "attacks-server"
	roleFree    = "attacks-free"
	roleWho     = "attacks-who"
)

// TestMain is also the stage, the hostile driver and the server that is attacked.
func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if len(os.Args) > 1 {
		switch arguments := os.Args[2:]; os.Args[1] {
		case roleWho:
			fmt.Println(os.Geteuid())
			os.Exit(0)
		case roleHostile:
			os.Exit(runHostile(arguments))
		case roleServer:
			os.Exit(runServer(arguments[0], strings.FieldsFunc(arguments[1], func(r rune) bool { return r == ',' })))
		case roleFree:
			os.Exit(runFree(arguments[0]))
		}
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests change users and namespaces: run them as root")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// runFree tries the battery without a host and a sandbox.
func runFree(text string) int {
	h := &hostile{}
	if err := json.Unmarshal([]byte(text), &h.at); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	outcomes := map[string]string{}
	for _, a := range battery() {
		if !a.needsHost && a.try != nil {
			outcomes[a.name] = outcome(a.try(h))
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcomes); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
