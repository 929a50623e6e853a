package pki_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// saverEnv names the directories of a child that saves identities until it is killed: where, and which.
const saverEnv = "PKI_TEST_SAVER"

func TestMain(m *testing.M) {
	switch {
	case powercut.Main():
	case os.Getenv(saverEnv) != "":
		if err := saveForever(filepath.SplitList(os.Getenv(saverEnv))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		goleak.VerifyTestMain(m)
	}
}

// saveForever saves the identities of from, one after another and from the beginning again, into a directory, and says
// so after each.
func saveForever(dirs []string) error {
	into := dirs[0]
	identities := make([]*pki.Identity, 0, len(dirs)-1)
	for _, dir := range dirs[1:] {
		identity, err := pki.LoadIdentity(dir)
		if err != nil {
			return err
		}
		identities = append(identities, identity)
	}
	for n := 0; ; n++ {
		if err := identities[n%len(identities)].Save(into); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}
