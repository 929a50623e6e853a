package membership_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// commandEnv says what a child is to do: it is a command, as JSON.
const commandEnv = "MEMBERSHIP_TEST_COMMAND"

// command founds a cluster in a directory, or joins one if it has a token.
type command struct {
	Dir, Address, Token string
	Member              membership.Membership
}

func (c command) run() error {
	if c.Token == "" {
		_, err := membership.Found(c.Dir, c.Member)
		return err
	}
	token, err := pki.ParseJoinToken(c.Token)
	if err == nil {
		_, err = membership.Join(context.Background(), c.Dir, c.Address, token, c.Member, program())
	}
	return err
}

func TestMain(m *testing.M) {
	text, child := os.LookupEnv(commandEnv)
	switch {
	case powercut.Main():
	case child:
		var c command
		err := json.Unmarshal([]byte(text), &c)
		if err == nil {
			err = c.run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		goleak.VerifyTestMain(m)
	}
}
