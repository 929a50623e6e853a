package settings

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// filled are properties with {dir} and {id} replaced; {dir} is one directory for all of them.
func filled(t drivertest.T, properties map[string]any, id string) drivertest.Properties {
	t.Helper()
	dir := lazyDir(t)
	made := drivertest.Properties{}
	for key, value := range properties {
		text, ok := value.(string)
		if !ok {
			made[key] = value
			continue
		}
		made[key] = replaced(text, dir, id)
	}
	return made
}

// lazyDir makes a directory once it is asked for.
func lazyDir(t drivertest.T) func() string {
	dir := ""
	return func() string {
		if dir == "" {
			dir = t.TempDir()
		}
		return dir
	}
}

func replaced(text string, dir func() string, id string) string {
	if strings.Contains(text, "{dir}") {
		text = strings.ReplaceAll(text, "{dir}", dir())
	}
	return strings.ReplaceAll(text, "{id}", id)
}

// message reads a message of the contract, with {dir} and {id} replaced.
func message[M proto.Message](t drivertest.T, text json.RawMessage, id string, into M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(replaced(string(text), lazyDir(t), id)), into); err != nil {
		t.Fatalf("the settings: %v", err)
	}
	return into
}

// wellFormed tells what is wrong with a message of the contract.
func wellFormed(field string, text json.RawMessage, into proto.Message) error {
	if len(text) == 0 {
		return nil
	}
	if err := protojson.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

// merged are properties with those of more in front.
func merged(base, more map[string]any) map[string]any {
	all := map[string]any{}
	maps.Copy(all, base)
	maps.Copy(all, more)
	return all
}

// complete adds what the description tells: a new directory for each path that the driver writes to and needs. It
// reports what the driver needs and nobody can make up.
func complete(
	field, scope string, given map[string]any, secrets map[string]string, described []*driverpb.Property,
) (map[string]any, error) {
	all := merged(nil, given)
	for _, p := range described {
		if p.GetScope() != scope || !p.GetRequired() && p.GetPathAccess() == driverpb.Property_ACCESS_NONE {
			continue
		}
		_, have := all[p.GetKey()]
		_, secret := secrets[p.GetKey()]
		if have || secret || p.GetDefault() != nil {
			continue
		}
		switch {
		case p.GetPathAccess() == driverpb.Property_ACCESS_READ_WRITE:
			all[p.GetKey()] = "{dir}"
		case p.GetRequired() && p.GetSecret():
			category, _, _ := strings.Cut(field, ".")
			return nil, fmt.Errorf("%s: the driver needs the secret %q: give it in the settings, or with "+
				"--set %s.secrets.%s=VALUE", field, p.GetKey(), category, p.GetKey())
		case p.GetRequired():
			return nil, fmt.Errorf("%s.%s: the driver needs it: give it in the settings, or with --set %s.%s=VALUE", field,
				p.GetKey(), field, p.GetKey())
		}
	}
	return all, nil
}
