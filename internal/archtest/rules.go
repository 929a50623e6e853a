package archtest

// Rules are the architecture of a repository.
//
// A pattern is a folder ("persistence"), or a folder with all below it ("drivers/..."); "..." is everything. Where
// several keys match a folder, the longest counts.
type Rules struct {
	// Module is the import path of the repository's root.
	Module string
	// MayImport lists, for the packages of a folder, what they may import from the repository. A folder that is not
	// in it is a mistake. A package may also import whatever its
	// own key covers.
	MayImport map[string][]string
	// Strangers are folders whose subfolders must not import each other.
	Strangers []string
	// Kits may be imported by tests and by other kits only. Test files and kits may import all of them.
	Kits []string
	// Owner lists, for each outside library, the folders that may import it.
	Owner map[string][]string
	// TestLibraries are outside libraries for test files and kits only.
	TestLibraries []string
	// TestsMayImport lists, for the test files of a folder, what they may import besides: folders of the repository or
	// outside libraries. Each is an exception and says why.
	TestsMayImport map[string][]string
	// Generated are the folders of generated code. Nothing else may hold any.
	Generated []string
	// BannedNames are names that say nothing about what a package is.
	BannedNames []string
	// BannedWords are endings of type names that say nothing about what a type is.
	BannedWords []string
	// MayInit are the folders whose packages may have init functions.
	MayInit []string
}

// Bulkhead returns the architecture of this repository.
func Bulkhead() Rules {
	return Rules{
		Module: "github.com/bulkhead-cloud/bulkhead",
		MayImport: map[string][]string{
			"resources/...":     {},
			"drivers/...":       {"resources/..."},
			"drivers/driverpb":  {},
			"drivers/sdk/...":   {"resources/...", "drivers/driverpb"},
			"persistence/...":   {"resources/..."},
			"cluster/...":       {},
			"cluster/clusterpb": {},
			"actors/...": {
				"resources/...", "persistence", "drivers/driverpb", "drivers/property", "drivers/sdk", "drivers/lifecycle",
				"internal/secrets",
			},
			"actors/mailbox":        {},
			"actors/shard":          {"actors/mailbox"},
			"actors/hazards":        {},
			"api/...":               {"resources/..."},
			"services/...":          {"resources/..."},
			"internal/metrics/...":  {},
			"internal/archtest/...": {},
			"internal/node/...": {
				"resources/...", "drivers/...", "persistence/...", "cluster/...", "actors/...", "api/...",
				"internal/metrics/...", "internal/driving", "internal/agent/...", "internal/tunnels", "services/...",
				"internal/secrets",
			},
			"internal/driving": {"resources/...", "drivers/...", "actors/operations", "internal/secrets"},
			"internal/agent/...": {
				"resources/...", "drivers/...", "cluster/...", "internal/driving", "internal/tunnels", "internal/secrets",
				"internal/metrics",
			},
			"internal/secrets":       {"resources/..."},
			"internal/tunnels":       {"drivers/...", "cluster/..."},
			"internal/agent/agentpb": {},
			"cmd/...":                {"..."},
			"bench/...":              {"..."},
		},
		Strangers: []string{"drivers/builtin", "services"},
		Kits: []string{
			"drivers/diskdir/diskdirtest", "drivers/builtin/sim/...",
			"drivers/builtin/ipmipower/ipmisim",
			"cluster/clustertest", "persistence/storetest/...", "persistence/memstore", "cluster/gossip/gossiptest",
			"actors/actorstest/...", "actors/operationstest/...", "actors/enginetest", "api/apitest/...",
		},
		Owner: owners(),
		TestLibraries: []string{
			"github.com/lima-vm/go-qcow2reader", "go.uber.org/goleak", "golang.org/x/net", "pgregory.net/rapid",
		},
		TestsMayImport: map[string][]string{
			// That a crash never parts the log from the state is shown with the real ones of both.
			"cluster": {"persistence", "persistence/badgerstore"},
			// That the actor test kit finds nothing wrong with a driver that is not, is shown with one that is real.
			"actors/enginetest": {"drivers/builtin/filestorage"},
		},
		Generated:   []string{"drivers/driverpb", "drivers/relay/relaypb", "cluster/clusterpb", "internal/agent/agentpb"},
		BannedNames: []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "misc", "shared"},
		BannedWords: []string{"Manager", "Helper", "Helpers", "Util", "Utils", "Common", "Impl"},
		MayInit:     []string{"drivers/driverpb", "drivers/relay/relaypb", "cluster/clusterpb", "internal/agent/agentpb"},
	}
}

// owners says which folders may import each outside library. Each has a line in docs/dependencies.md.
func owners() map[string][]string {
	rpc := []string{"drivers/...", "actors/...", "cluster/...", "internal/...", "bench/server"}
	return map[string][]string{
		"filippo.io/age":                           {"internal/node/sealing"},
		"github.com/KimMachineGun/automemlimit":    {"internal/node"},
		"github.com/Masterminds/semver/v3":         {"drivers/..."},
		"github.com/anishathalye/porcupine":        {"bench/chaos"},
		"github.com/asynkron/protoactor-go":        {"actors/..."},
		"github.com/coder/websocket":               {"api/...", "cmd/..."},
		"github.com/danielgtaylor/huma/v2":         {"api/..."},
		"github.com/dgraph-io/badger/v4":           {"persistence/badgerstore"},
		"github.com/dgraph-io/ristretto/v2":        {"persistence/badgerstore"},
		"github.com/diskfs/go-diskfs":              {"drivers/builtin/qemuhypervisor/..."},
		"github.com/fxamacker/cbor/v2":             {"persistence/..."},
		"github.com/google/renameio/v2":            {"cmd/..."},
		"github.com/hashicorp/go-hclog":            {"cluster"},
		"github.com/hashicorp/memberlist":          {"cluster/gossip"},
		"github.com/hashicorp/raft":                {"cluster"},
		"github.com/hashicorp/raft-wal":            {"cluster"},
		"github.com/prometheus/client_golang":      {"internal/...", "drivers/..."},
		"github.com/prometheus/client_model":       {"internal/...", "drivers/..."},
		"github.com/prometheus/common":             {"internal/...", "drivers/..."},
		"github.com/santhosh-tekuri/jsonschema/v6": {"api/...", "drivers/..."},
		"github.com/spf13/cobra":                   {"cmd/..."},
		"github.com/vishvananda/netlink":           {"drivers/builtin/bridgenetwork/..."},
		"go.yaml.in/yaml/v3":                       {"cmd/...", "drivers/archive"},
		"go.etcd.io/etcd":                          {"bench/etcd"},
		"golang.org/x/sync":                        {"..."},
		"golang.org/x/sys":                         {"..."},
		"golang.org/x/term":                        {"cmd/..."},
		"golang.org/x/text":                        {"drivers/property"},
		"golang.org/x/time":                        {"api/...", "drivers/..."},
		"google.golang.org/grpc":                   rpc,
		"google.golang.org/protobuf":               rpc,
	}
}
