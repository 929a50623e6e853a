package bridgenetwork

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/ruleset"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// program returns the path of the first of these that is installed. The error wraps exec.ErrNotFound.
func program(paths [3]string) (string, error) {
	for _, path := range paths {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("looking for %s: %w", paths[0], exec.ErrNotFound)
}

// Where distributions put the programs this driver needs.
var (
	nftPaths     = [3]string{"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"}
	dnsmasqPaths = [3]string{"/usr/sbin/dnsmasq", "/usr/local/sbin/dnsmasq", "/usr/bin/dnsmasq"}
)

// nft runs nft in a namespace, to do what the words say.
func nft(ctx context.Context, space *netspace.Space, words, input string, arguments ...string) ([]byte, error) {
	path, err := program(nftPaths)
	if err != nil {
		return nil, err
	}
	output, err := space.Run(ctx, input, append([]string{path}, arguments...)...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", words, err)
	}
	return output, nil
}

// commit puts a transaction of nft in force in a namespace, as a whole or not at all.
func commit(ctx context.Context, space *netspace.Space, transaction string) error {
	_, err := nft(ctx, space, "changing the packet filter", transaction, "-f", "-")
	return err
}

// checkTransaction asks the kernel whether it would take a transaction.
func checkTransaction(ctx context.Context, space *netspace.Space, transaction string) error {
	_, err := nft(ctx, space, "asking the packet filter", transaction, "-c", "-f", "-")
	return err
}

// hasTable tells whether our table of a family is in a namespace.
func hasTable(ctx context.Context, space *netspace.Space, family string) (bool, error) {
	output, err := nft(ctx, space, "listing the tables of the packet filter", "", "-j", "list", "tables")
	if err != nil {
		return false, err
	}
	var listing struct {
		Objects []struct {
			Table *struct{ Family, Name string } `json:"table"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(output, &listing); err != nil {
		return false, fmt.Errorf("reading the tables of the packet filter: %w", err)
	}
	for _, object := range listing.Objects {
		if object.Table != nil && object.Table.Family == family && object.Table.Name == ruleset.Table {
			return true, nil
		}
	}
	return false, nil
}

// admitted returns the ports that the guard of a network lets through.
func admitted(ctx context.Context, space *netspace.Space) ([]string, error) {
	there, err := hasTable(ctx, space, "bridge")
	if err != nil || !there {
		return nil, err
	}
	output, err := nft(ctx, space, "listing the ports' guard", "", "-j", "-n", "list", "table", "bridge", ruleset.Table)
	if err != nil {
		return nil, err
	}
	return ruleset.ParsePorts(output)
}

// hostState returns what the host's table holds; there is false when there is no such table.
func (d *driver) hostState(ctx context.Context) (state ruleset.HostState, there bool, err error) {
	there, err = hasTable(ctx, d.host, "ip")
	if err != nil || !there {
		return ruleset.HostState{}, false, err
	}
	output, err := nft(ctx, d.host, "listing the host's table", "", "-j", "-n", "list", "table", "ip", ruleset.Table)
	if err != nil {
		return ruleset.HostState{}, false, err
	}
	state, err = ruleset.ParseHost(output)
	return state, true, err
}
