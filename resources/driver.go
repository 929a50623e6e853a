package resources

import "time"

// Driver is an installed driver: one version that resources can be bound to.
type Driver struct {
	Meta
	Spec   DriverSpec   `json:"spec"`
	Status DriverStatus `json:"status"`
}

// DriverSpec is what is asked of a driver.
type DriverSpec struct {
	// Product is vendor/name.
	Product    string   `json:"product" doc:"Vendor and name." example:"bulkhead/filestorage"`
	Version    string   `json:"version" doc:"Semantic version."`
	Categories []string `json:"categories" doc:"What it drives: network, storage, image, hypervisor, out-of-band."`
	BuiltIn    bool     `json:"builtIn,omitempty" doc:"Whether it ships with the server."`
	Enabled    bool     `json:"enabled" doc:"Whether resources can be bound to it."`
	Current    bool     `json:"current,omitempty" doc:"Whether new resources are bound to this version of the product. One version of each product is current: if none was made so, the one that ships with the server."`
	// Digest and Tree are of what is installed: see archive.Archive.
	Digest string `json:"digest,omitempty" doc:"SHA-256 of the archive it was installed from."`
	Tree   string `json:"tree,omitempty" doc:"SHA-256 of what the archive holds, file by file."`
	// Variant tells it from the same version with other settings.
	Variant string `json:"variant,omitempty" doc:"Label of a version that was copied to be given other settings, the last part of its version."`
	// Requires is what must run before it, as its archive says.
	Requires []DriverRequirement `json:"requires,omitempty" doc:"Drivers that must run on a machine before it is started there."`
	// Installs grows when the same archive is installed again.
	Installs   uint64            `json:"installs,omitempty" doc:"How often it was installed again: with that, members get anew what they had to take out of use."`
	Properties map[string]any    `json:"properties,omitempty" doc:"Driver-wide properties."`
	Secrets    map[string]string `json:"-" cbor:"secrets,omitempty"`
}

// DriverRequirement is a driver that another one needs.
type DriverRequirement struct {
	// Product is vendor/name.
	Product  string `json:"product" doc:"Vendor and name." example:"example/fabric"`
	Versions string `json:"versions" doc:"Range of versions that will do." example:">=1.2 <2"`
}

// String is for people: example/fabric >=1.2 <2.
func (r DriverRequirement) String() string { return r.Product + " " + r.Versions }

// VersionName names the version for people: vendor/name 1.2.0.
func (d *Driver) VersionName() string { return d.Spec.Product + " " + d.Spec.Version }

// Why a version does not run on a member though it is enabled.
const (
	// TroubleFetching: its archive is not there yet. It passes, and is noted in no record.
	TroubleFetching = "fetching"
	// TroubleQuarantined: what it was unpacked to is not what it was.
	TroubleQuarantined = "quarantined"
	// TroubleFailed: it can't be started there at all.
	TroubleFailed = "failed"
	// TroubleBlocked: what it requires does not run there.
	TroubleBlocked = "blocked"
)

// DriverTrouble is why a version does not run on a member though it is enabled.
type DriverTrouble struct {
	Node   string    `json:"node" doc:"Node or agent."`
	State  string    `json:"state" doc:"quarantined, failed, blocked or crash-loop."`
	Reason string    `json:"reason" doc:"Why, in words."`
	Since  time.Time `json:"since" doc:"Since when."`
}

// In lists the members where it is in a state of trouble, in their order.
func (s *DriverStatus) In(state string) (nodes []string) {
	for _, t := range s.Troubles {
		if t.State == state {
			nodes = append(nodes, t.Node)
		}
	}
	return nodes
}

// DriverStatus is what was observed of a driver.
type DriverStatus struct {
	Digest       string         `json:"digest,omitempty" doc:"SHA-256 of its executable."`
	Properties   []Property     `json:"properties,omitempty" doc:"Settings it understands, by scope."`
	Capabilities map[string]any `json:"capabilities,omitempty" doc:"What it declares it can do."`
	Actions      []ActionRole   `json:"actions,omitempty" doc:"Actions on its resources that take a higher role than the zone asks for, by its own word."`
	// Permissions, HandleReads and HandleWrites are told apart when another version takes over.
	Permissions  []string   `json:"permissions,omitempty" doc:"What it may do besides answering calls."`
	HandleReads  []uint32   `json:"handleReads,omitempty" doc:"Formats of what a driver remembers of a resource that it can read, besides the one it writes."`
	HandleWrites uint32     `json:"handleWrites,omitempty" doc:"Format that it writes."`
	Instances    []Instance `json:"instances,omitempty" doc:"Its running processes."`
	// Troubles are in the order of the members' names. While there are some the driver is degraded.
	Troubles []DriverTrouble `json:"troubles,omitempty" doc:"Members where it does not run though it is enabled, and why."`
	// What follows is for showing it, and kept nowhere.
	Current bool `json:"current,omitempty" cbor:"-" doc:"Whether new resources are bound to it now."`
	Bound   int  `json:"bound,omitempty" cbor:"-" doc:"How many resources it acts for; where there are very many, as it was counted lately."`
	// Denied is told to who asks alone.
	Denied []DeniedAction `json:"denied,omitempty" cbor:"-" doc:"What you may not use it for, because of a policy or of what it asks for itself; that your role allows it at all is another thing."`
}

// Property describes one vendor setting.
type Property struct {
	Key         string   `json:"key" doc:"Key."`
	Scope       string   `json:"scope" doc:"Kind of resource it belongs to, driver, or an operation: its kind and action, such as volume/grow."`
	Label       string   `json:"label,omitempty" doc:"Short name, for people, in the language asked for."`
	Description string   `json:"description,omitempty" doc:"What it does."`
	Type        string   `json:"type" doc:"string, number, boolean or date."`
	Required    bool     `json:"required,omitempty" doc:"Whether it must be given."`
	Immutable   bool     `json:"immutable,omitempty" doc:"Whether it is fixed once given."`
	Secret      bool     `json:"secret,omitempty" doc:"Whether it is never shown."`
	MaxLength   uint32   `json:"maxLength,omitempty" doc:"Longest text, in bytes."`
	Pattern     string   `json:"pattern,omitempty" doc:"Regular expression (RE2) the whole text must match."`
	Min         *float64 `json:"min,omitempty" doc:"Smallest number."`
	Max         *float64 `json:"max,omitempty" doc:"Largest number."`
	Default     any      `json:"default,omitempty" doc:"Value when none is given."`
	Enum        []any    `json:"enum,omitempty" doc:"Values allowed."`
	Role        Role     `json:"role,omitempty" doc:"Least role of who gives it a value, by the driver's own word; absent means who may change the resource or begin the operation."`
	PathAccess  string   `json:"pathAccess,omitempty" doc:"read or read-write, when the value is a path on the host."`
	// What follows is for showing it. It is asked of the driver at each start, and kept nowhere.
	Group          string `json:"group,omitempty" cbor:"-" doc:"What it is shown together with."`
	LabelKey       string `json:"labelKey,omitempty" cbor:"-" doc:"Key of the label in the driver's message files."`
	DescriptionKey string `json:"descriptionKey,omitempty" cbor:"-" doc:"Key of the description in the driver's message files."`
	// Denied is told to who asks alone.
	Denied string `json:"denied,omitempty" cbor:"-" doc:"Why you may not give it a value: a policy, or the role that it takes; absent if you may."`
}

// ActionRole is the least role that an action on resources of a driver takes, by the driver's own word.
type ActionRole struct {
	Action string `json:"action" doc:"Kind and action, such as volume/revert." example:"volume/revert"`
	Role   Role   `json:"role" doc:"Least role of who begins it."`
}

// DeniedAction is something that who asks may not use a driver for.
type DeniedAction struct {
	Action string `json:"action" doc:"Kind and action, such as volume/create." example:"volume/create"`
	Why    string `json:"why" doc:"What keeps you from it: a policy, or the role that it takes."`
}

// PropertyCheck asks whether a driver takes values for the properties of a scope.
type PropertyCheck struct {
	// Product of the driver, vendor/name.
	Product string
	// Version of it; "" = the current one.
	Version string
	// Scope is a kind, "driver", or the kind and action of an operation: "volume/grow".
	Scope string
	Given map[string]any
	// Owner is what secrets among them are sealed for.
	Owner Ref
	// At is that of the Settings.
	At string
	// Before are the values that the resource has; nil = it is new. What can't be changed must be as it was.
	Before map[string]any
	// Elsewhere lists what other installed versions describe: that may be given before one of them acts; nil = nothing.
	Elsewhere func() ([]Property, error)
	// Acting are resources of which the first that a version acts for says which one is asked, if none is named.
	Acting []Ref
	// Languages are those of the caller, as an Accept-Language header lists them.
	Languages string
}

// Instance is a running process of a driver on a node.
type Instance struct {
	Node      string    `json:"node" doc:"Node it runs on."`
	State     string    `json:"state" doc:"starting, running, backing-off, crash-loop, stopped, fetching, quarantined, failed or blocked."`
	PID       int       `json:"pid,omitempty" doc:"Process id."`
	StartedAt time.Time `json:"startedAt,omitzero" doc:"When the process started."`
	Restarts  int       `json:"restarts" doc:"How often it was restarted."`
	Isolation string    `json:"isolation,omitempty" doc:"strong, good, basic or none; none (attached) while a developer's process has taken its place."`
	// Applied and Missing are the isolation report.
	Applied   []string           `json:"applied,omitempty" doc:"Confinement that holds."`
	Missing   []MissingIsolation `json:"missing,omitempty" doc:"Confinement that does not hold."`
	LastError string             `json:"lastError,omitempty" doc:"Last failure, in words."`
	// Health is what the driver says of itself, Reason why it is not ready.
	Health string `json:"health,omitempty" doc:"ready, degraded or unready, by the driver's own word."`
	Reason string `json:"reason,omitempty" doc:"Why it is not ready, in the driver's words."`
}

// MissingIsolation is one confinement a host can't give.
type MissingIsolation struct {
	Mechanism string `json:"mechanism" doc:"Mechanism."`
	Reason    string `json:"reason" doc:"Why it is missing."`
	Remedy    string `json:"remedy,omitempty" doc:"What would bring it."`
}

// Validate implements Resource.
func (d *Driver) Validate(p *Problems) {
	ValidateMeta(&d.Meta, p)
	s := p.In("spec")
	s.Required("product", d.Spec.Product)
	s.Required("version", d.Spec.Version)
}

// Level is that of the zones whose programs know all of it.
func (d *Driver) Level() uint32 { return levelIf(!d.Spec.BuiltIn || d.Spec.Current) }

// References implements Resource.
func (d *Driver) References() []Ref { return nil }

// Facets implements Resource.
func (d *Driver) Facets() map[string]string {
	m := map[string]string{}
	facet(m, "product", d.Spec.Product)
	for _, c := range d.Spec.Categories {
		m["category."+c] = "true"
	}
	return m
}

func driverDefinition() Definition {
	return Definition{
		Kind: KindDriver, Prefix: "drv", Plural: "drivers",
		New:     func() Resource { return &Driver{Meta: Meta{Kind: KindDriver}} },
		Phases:  simpleTable(),
		Actions: actions(createAction(time.Minute), updateAction(), deleteAction(time.Minute)),
		Mutable: []string{"enabled", "current", "installs", "properties"},
	}
}
