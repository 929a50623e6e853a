package cli_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

var rewrite = flag.Bool("rewrite", false, "write golden files instead of comparing with them")

// site is a zone in memory behind its API, and a command line that is logged in.
type site struct {
	t     *testing.T
	zone  *apitest.Zone
	nodes *apitest.Cluster
	url   string
	admin string
}

func newSite(t *testing.T, hold bool) *site {
	t.Helper()
	z, nodes := apitest.New(nil), apitest.NewCluster(nil, "node-1", "node-2", "node-3")
	z.Hold = hold
	log := slog.New(slog.DiscardHandler)
	a, err := api.New(api.Options{
		Version: "test", Reader: z, Engine: z, Drivers: z, Bindings: z, Health: z, Uploads: z, Archives: z,
		Backups: z, Log: log, Cluster: nodes,
		Streams: api.Streams{Heartbeat: 50 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewServer(a.Handler(), log)
	server.Start()
	t.Cleanup(func() {
		_ = server.Config.Shutdown(context.WithoutCancel(t.Context())) // ends streams
		server.Close()
	})
	s := &site{t: t, zone: z, nodes: nodes, url: server.URL}
	s.admin = s.token("admin", resources.RoleAdmin)
	t.Setenv("BULKHEAD_URL", s.url)
	t.Setenv("BULKHEAD_TOKEN", s.admin)
	t.Setenv("BULKHEAD_CONFIG", filepath.Join(t.TempDir(), "config", "config.json"))
	return s
}

func (s *site) token(name string, role resources.Role) string {
	secret := door.NewSecret()
	return secret.Bearer(s.zone.Add(&resources.Token{
		Meta: resources.Meta{Kind: resources.KindToken, Name: name}, Spec: resources.TokenSpec{Role: role},
		Status: resources.TokenStatus{Digest: secret.Digest()},
	}))
}

// furnish fills the zone with what a machine needs.
func (s *site) furnish() {
	path := resources.Property{Key: "path", Scope: "pool", Type: "string"}
	s.zone.AddDriver("bulkhead/sim", []string{"hypervisor", "storage", "network", "image"}, path,
		resources.Property{Key: "password", Scope: "pool", Type: "string", Secret: true})
	host := s.zone.Add(&resources.Host{
		Meta: resources.Meta{Kind: resources.KindHost, Name: "h1"}, Spec: resources.HostSpec{Driver: "bulkhead/sim"},
		Status: resources.HostStatus{CPUs: 8, MemoryBytes: 16 << 30, Accelerator: "kvm"},
	})
	s.zone.Add(&resources.Pool{
		Meta: resources.Meta{
			Kind: resources.KindPool,
			Name: "fast",
		},
		Spec:   resources.PoolSpec{Driver: "bulkhead/sim", HostID: resources.HostID(host)},
		Status: resources.PoolStatus{TotalBytes: 100 << 30, UsedBytes: 1536 << 20},
	})
	network := s.zone.Add(&resources.Network{
		Meta: resources.Meta{Kind: resources.KindNetwork, Name: "lan"},
		Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.0.0.0/24", Mode: "nat"},
	})
	s.zone.Add(&resources.Template{
		Meta: resources.Meta{
			Kind: resources.KindTemplate,
			Name: "tiny",
		},
		Spec:   resources.TemplateSpec{Format: "raw", File: "/images/tiny"},
		Status: resources.TemplateStatus{FileBytes: 12 << 20, VirtualBytes: 64 << 20},
	})
	nic := s.zone.Add(&resources.Nic{
		Meta: resources.Meta{Kind: resources.KindNic}, Spec: resources.NicSpec{NetworkID: resources.NetworkID(network)},
		Status: resources.NicStatus{Address: "10.0.0.2", MAC: "02:00:00:00:00:01"},
	})
	s.zone.Add(&resources.Machine{
		Meta: resources.Meta{
			Kind:   resources.KindMachine,
			Name:   "db",
			Phase:  resources.PhaseRunning,
			Labels: map[string]string{"tier": "db"},
		},
		Spec: resources.MachineSpec{CPUs: 2, MemoryBytes: 2 << 30},
		Status: resources.MachineStatus{
			HostID: resources.HostID(host), NicIDs: []resources.NicID{resources.NicID(nic)}, Addresses: []string{"10.0.0.2"},
		},
	})
}

// output is a buffer that two goroutines may use.
type output struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed with the next write, if anybody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.b.Write(p)
}

// next is what there is now, and a channel that is closed when there is more.
func (o *output) next() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.b.String(), o.changed
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

type result struct {
	out, err string
	code     int
}

func (s *site) run(args ...string) result {
	s.t.Helper()
	var out, errors output
	code := s.start(s.t.Context(), "", &out, &errors, args...)
	return result{out.String(), errors.String(), code}
}

func (s *site) start(ctx context.Context, stdin string, out, errors *output, args ...string) int {
	root := cli.New("test")
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(out)
	root.SetErr(errors)
	return cli.RunContext(ctx, root)
}

// What differs from run to run, replaced by something of the same length.
var (
	idPattern   = regexp.MustCompile(`([a-z]+)-[0-9a-hjkmnp-tv-z]{26}`)
	timePattern = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	agePattern  = regexp.MustCompile(`(?m)\b\d+s$`)
	reqPattern  = regexp.MustCompile(`request [0-9a-f]{32}`)
	hostPattern = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	keyPattern  = regexp.MustCompile(`_[0-9a-f]{64}`)
	reqID       = regexp.MustCompile(`[0-9a-f]{32}`)
)

func (s *site) steady(text string) string {
	text = idPattern.ReplaceAllString(text, "$1-xxxxxxxxxxxxxxxxxxxxxxxxxx")
	text = timePattern.ReplaceAllString(text, "2026-01-01T00:00:00Z")
	text = agePattern.ReplaceAllString(text, "0s")
	text = keyPattern.ReplaceAllString(text, "_secret")
	text = reqPattern.ReplaceAllString(text, "request r-1")
	text = reqID.ReplaceAllString(text, "r-1")
	text = strings.ReplaceAll(text, s.t.TempDir()[:strings.LastIndex(s.t.TempDir(), "/")], "TMP")
	return hostPattern.ReplaceAllString(text, "zone.example")
}

// transcript runs the commands of a file and compares what they print with it.
// Lines that begin with $ are commands, those that begin with # remarks.
func (s *site) transcript(name string) {
	s.t.Helper()
	path := filepath.Join("testdata", name+".txt")
	want, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(want)) {
		command, ok := strings.CutPrefix(line, "$ bulkhead")
		if strings.HasPrefix(line, "# ") {
			got.WriteString("\n" + line)
		}
		if !ok {
			continue
		}
		r := s.run(strings.Fields(command)...)
		fmt.Fprintf(&got, "\n%s%s", line, s.steady(r.out))
		for e := range strings.Lines(s.steady(r.err)) {
			got.WriteString("! " + e)
		}
		if r.code != 0 {
			fmt.Fprintf(&got, "exit %d\n", r.code)
		}
	}
	text := strings.TrimPrefix(got.String(), "\n")
	if *rewrite {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	if text != string(want) {
		s.t.Errorf(
			"%s is not what was printed. If the change is meant, run the test with -rewrite and review the diff. Got:\n%s",
			path,
			text,
		)
	}
}

func TestTranscripts(t *testing.T) {
	for _, name := range []string{"lists", "life", "errors", "access"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, false)
			s.furnish()
			s.transcript(name)
		})
	}
}
