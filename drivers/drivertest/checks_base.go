package drivertest

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
)

func baseChecks(h *Harness, a *about) []check {
	return []check{
		{name: "Base: Hello agrees on the highest API version both sides know", run: helloAgrees},
		{name: "Base: Hello without a common API version is refused with FAILED_PRECONDITION", run: helloRefuses},
		{name: "Base: Hello names vendor, version and the categories that are served", run: helloNames},
		{name: "Base: Describe answers the same for the whole life of a version", run: describeStays},
		{
			name: "Base: Describe answers what the archive declares", run: describesDeclared,
			why: given(h.Declared != nil, "archive"),
		},
		{name: "Base: properties are described well enough to be validated and shown", run: propertiesDescribed},
		{name: "Base: Configure is idempotent", run: configureTwice},
		{name: "Base: Probe answers for the process", run: probeProcess},
		{name: "Base: Recall of a token never heard of answers STATE_UNKNOWN", run: recallUnknown},
		{name: "Base: ids that are no file names are refused", run: badIDs},
		{
			name: "Base: Metrics are in the text format, and none breaks a rule", run: metricsShown,
			why: declared(a.counts, "metrics"),
		},
		{name: "Base: Shutdown ends the process within its grace", run: shutdownEnds},
	}
}

func (e *env) base() driverpb.BaseClient { return driverpb.NewBaseClient(e.conn()) }

func helloAgrees(e *env) {
	ctx, cancel := e.patience()
	defer cancel()
	reply, err := e.base().Hello(ctx, &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1 << 20, Instance: "kit"})
	if err != nil {
		e.Fatalf("hello from a newer host: %v", err)
	}
	if reply.GetApi() < 1 || reply.GetApi() == 1<<20 {
		e.Errorf("agreed on version %d, want one that exists", reply.GetApi())
	}
	older, err := e.base().Hello(ctx, &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1, Instance: "kit"})
	if err != nil || older.GetApi() != 1 {
		e.Errorf("with a host that knows version 1 only: %v, %v; want 1", older, err)
	}
}

func helloRefuses(e *env) {
	ctx, cancel := e.patience()
	defer cancel()
	for _, r := range []*driverpb.HelloRequest{{ApiMin: 1 << 20, ApiMax: 1<<20 + 1}, {}} {
		_, err := e.base().Hello(ctx, r)
		if status.Code(err) != codes.FailedPrecondition {
			e.Errorf("versions %d to %d: %v, want FAILED_PRECONDITION", r.GetApiMin(), r.GetApiMax(), err)
		}
	}
}

func helloNames(e *env) {
	ctx, cancel := e.patience()
	defer cancel()
	reply, err := e.base().Hello(ctx, &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1, Instance: "kit"})
	if err != nil {
		e.Fatalf("hello: %v", err)
	}
	if !regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+$`).MatchString(reply.GetName()) {
		e.Errorf("name %q is not vendor/name", reply.GetName())
	}
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`).MatchString(reply.GetVersion()) {
		e.Errorf("version %q is not semantic", reply.GetVersion())
	}
	served := map[driverpb.Category]bool{
		driverpb.Category_CATEGORY_STORAGE:     e.harness.Storage != nil,
		driverpb.Category_CATEGORY_IMAGE:       e.harness.Images != nil,
		driverpb.Category_CATEGORY_HYPERVISOR:  e.harness.Hypervisor != nil,
		driverpb.Category_CATEGORY_NETWORK:     e.harness.Networks != nil,
		driverpb.Category_CATEGORY_OUT_OF_BAND: e.harness.OutOfBand != nil,
	}
	for category, want := range served {
		if len(e.harness.Only) > 0 && !slices.Contains(e.harness.Only, category) {
			continue // nobody asked
		}
		if got := slices.Contains(reply.GetCategories(), category); got != want {
			e.Errorf("%s: declared %t, the harness has a profile: %t", category, got, want)
		}
	}
}

func describeStays(e *env) {
	first := e.describe()
	if !proto.Equal(first, e.describe()) {
		e.Error("described differently the second time")
	}
	e.kill()
	e.restart()
	if !proto.Equal(first, e.describe()) {
		e.Error("described differently after a restart")
	}
}

func describesDeclared(e *env) {
	described, declared := e.describe(), e.harness.Declared
	if !proto.Equal(described.GetCapabilities(), declared.GetCapabilities()) {
		e.Errorf("the driver can %v, the archive declares %v", described.GetCapabilities(), declared.GetCapabilities())
	}
	known := map[string]*driverpb.Property{}
	for _, p := range declared.GetProperties() {
		known[p.GetScope()+"/"+p.GetKey()] = p
	}
	for _, p := range described.GetProperties() {
		at := p.GetScope() + "/" + p.GetKey()
		switch d := known[at]; {
		case d == nil:
			e.Errorf("the driver describes %s, the archive does not declare it", at)
		case d.GetType() != p.GetType(), d.GetRequired() != p.GetRequired(), d.GetSecret() != p.GetSecret(),
			d.GetPathAccess() != p.GetPathAccess():
			e.Errorf("the driver describes %s as %v, the archive declares %v", at, p, d)
		}
		delete(known, at)
	}
	for _, at := range slices.Sorted(maps.Keys(known)) {
		e.Errorf("the archive declares %s, the driver does not describe it", at)
	}
}

func propertiesDescribed(e *env) {
	seen := map[string]bool{}
	for _, p := range e.describe().GetProperties() {
		at := p.GetScope() + "/" + p.GetKey()
		if seen[at] {
			e.Errorf("%s is described twice", at)
		}
		seen[at] = true
		for _, wrong := range flaws(p) {
			e.Errorf("%s: %s", at, wrong)
		}
	}
}

var keySyntax = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// flaws lists what is wrong with the description of a property.
func flaws(p *driverpb.Property) []string {
	var found []string
	flaw := func(wrong bool, words string) {
		if wrong {
			found = append(found, words)
		}
	}
	_, err := regexp.Compile(p.GetPattern())
	wrong := property.CheckScope(p.GetScope())
	flaw(wrong != "", "its scope "+wrong)
	flaw(!keySyntax.MatchString(p.GetKey()), "its key is not an identifier")
	flaw(p.GetLabel() == "" || p.GetDescription() == "", "its label or description is missing")
	flaw(err != nil, "its pattern is no regular expression")
	flaw(p.Min != nil && p.Max != nil && p.GetMin() > p.GetMax(), "its min is above its max")
	flaw(p.GetType() == driverpb.Property_TYPE_UNSPECIFIED, "it has no type")
	flaw(p.GetSecret() && p.GetDefault() != nil, "it is a secret with a default")
	for _, value := range append([]*structpb.Value{p.GetDefault()}, p.GetEnum()...) {
		flaw(value != nil && !fits(p.GetType(), value), fmt.Sprintf("%v is no %s", value, p.GetType()))
	}
	return found
}

// fits tells whether a value is of a property's type.
func fits(kind driverpb.Property_Type, value *structpb.Value) bool {
	switch value.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind == driverpb.Property_TYPE_STRING || kind == driverpb.Property_TYPE_DATE
	case *structpb.Value_NumberValue:
		return kind == driverpb.Property_TYPE_NUMBER
	case *structpb.Value_BoolValue:
		return kind == driverpb.Property_TYPE_BOOLEAN
	}
	return false
}

func configureTwice(e *env) {
	ctx, cancel := e.patience()
	defer cancel()
	request := &driverpb.ConfigureRequest{Properties: e.structOf(e.harness.Properties), Secrets: e.harness.Secrets}
	for range 2 { // after the one in the greeting
		if _, err := e.base().Configure(ctx, request); err != nil {
			e.Fatalf("configure again: %v", err)
		}
	}
}

func probeProcess(e *env) {
	ctx, cancel := e.patience()
	defer cancel()
	for _, request := range []*driverpb.ProbeRequest{{}, {Call: &driverpb.Call{}}} {
		reply, err := e.base().Probe(ctx, request)
		if err != nil {
			e.Fatalf("probe: %v", err)
		}
		if reply.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
			e.Errorf("the process is %s (%s), want HEALTH_READY", reply.GetHealth(), reply.GetReason())
		}
	}
}

func recallUnknown(e *env) {
	if state := e.recall(e.token()).GetState(); state != driverpb.RecallReply_STATE_UNKNOWN {
		e.Errorf("got %s", state)
	}
}

// badIDs asks each category to open something with an id that would escape from a directory.
func badIDs(e *env) {
	methods := map[string]func(*driverpb.Call) proto.Message{}
	if e.harness.Storage != nil {
		methods[driverpb.Storage_OpenPool_FullMethodName] = func(c *driverpb.Call) proto.Message {
			return &driverpb.OpenPoolRequest{Call: c}
		}
	}
	if e.harness.Images != nil {
		methods[driverpb.Images_OpenStore_FullMethodName] = func(c *driverpb.Call) proto.Message {
			return &driverpb.StoreRequest{Call: c}
		}
	}
	if e.harness.Hypervisor != nil {
		methods[driverpb.Hypervisor_OpenHost_FullMethodName] = func(c *driverpb.Call) proto.Message {
			return &driverpb.HostCallRequest{Call: c}
		}
	}
	if e.harness.Networks != nil {
		methods[driverpb.Networks_CreateNetwork_FullMethodName] = func(c *driverpb.Call) proto.Message {
			return &driverpb.NetworkRequest{Call: c, Network: e.harness.Networks.Spec(e.T)}
		}
	}
	if e.harness.OutOfBand != nil {
		methods[driverpb.OutOfBand_PowerOff_FullMethodName] = func(c *driverpb.Call) proto.Message {
			return &driverpb.PowerRequest{Call: c}
		}
	}
	for method, request := range methods {
		for _, id := range []string{"../escape", "a/b", ".", "-rf", "A", "a b", "a\x00b", "é", ""} {
			call := e.call(&driverpb.Ref{Kind: "pool", Id: id}, scope{})
			if fault := e.refused(driverpb.Class_CLASS_INVALID, method, request(call)); fault.GetField() == "" {
				e.Errorf("id %q: fault %s names no field", id, fault.GetCode())
			}
		}
	}
}

func shutdownEnds(e *env) {
	ctx, cancel := e.patience()
	defer cancel()
	const grace = 2 * time.Second
	if _, err := e.base().Shutdown(ctx, &driverpb.ShutdownRequest{GraceMs: uint32(grace.Milliseconds())}); err != nil {
		e.Fatalf("shutdown: %v", err)
	}
	e.eventually(grace+e.harness.Limits.Cancel, "the process has ended", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := e.base().Recall(ctx, &driverpb.RecallRequest{Token: "after-the-end"})
		return err != nil
	})
	e.kill() // what is left of it
	e.restart()
	if state := e.recall(e.token()).GetState(); state != driverpb.RecallReply_STATE_UNKNOWN {
		e.Errorf("after a restart an unknown token is %s", state)
	}
}
