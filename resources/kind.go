package resources

// Kind names a sort of resource.
type Kind string

// The kinds, in the order in which they stand on each other: a resource refers
// only to kinds above it in this list.
const (
	KindZone       Kind = "zone"
	KindToken      Kind = "token"
	KindPolicy     Kind = "policy"
	KindDriver     Kind = "driver"
	KindCluster    Kind = "cluster"
	KindHost       Kind = "host"
	KindPool       Kind = "pool"
	KindImageStore Kind = "image-store"
	KindTemplate   Kind = "template"
	KindNetwork    Kind = "network"
	KindAddress    Kind = "address"
	KindRule       Kind = "rule"
	KindVolume     Kind = "volume"
	KindSnapshot   Kind = "snapshot"
	KindNic        Kind = "nic"
	KindMachine    Kind = "machine"
	KindSwap       Kind = "swap"
	KindOperation  Kind = "operation"
)

// Resource is anything with a kind, an id, a spec, a status, a phase and a
// revision.
type Resource interface {
	// Metadata returns the part all resources share, to read and to change.
	Metadata() *Meta
	// Validate reports every field of the spec that can't be accepted.
	Validate(p *Problems)
	// References lists the resources this one stands on. They can't be deleted
	// before it.
	References() []Ref
	// Facets lists what the resource can be looked up by, besides name, phase
	// and labels: facet name to value.
	Facets() map[string]string
}

// Definition is what the vocabulary says about one kind.
type Definition struct {
	Kind   Kind
	Prefix string // of its ids
	Plural string // in URLs
	New    func() Resource
	Phases Table
	// Actions by name.
	Actions map[string]Action
	// Mutable are the fields of the spec that "update" may change.
	Mutable []string
}

// Definitions returns what there is, in the order of the kinds.
func Definitions() []Definition {
	return []Definition{
		zoneDefinition(),
		tokenDefinition(),
		policyDefinition(),
		driverDefinition(),
		clusterDefinition(),
		hostDefinition(),
		poolDefinition(),
		imageStoreDefinition(),
		templateDefinition(),
		networkDefinition(),
		addressDefinition(),
		ruleDefinition(),
		volumeDefinition(),
		snapshotDefinition(),
		nicDefinition(),
		machineDefinition(),
		swapDefinition(),
		operationDefinition(),
	}
}

// Vocabulary is the definitions, by kind. Make one and share it: it does not
// change.
type Vocabulary map[Kind]Definition

// NewVocabulary indexes Definitions.
func NewVocabulary() Vocabulary {
	v := make(Vocabulary)
	for _, d := range Definitions() {
		v[d.Kind] = d
	}
	return v
}

// Action looks an action up; false if the kind has no such action.
func (v Vocabulary) Action(kind Kind, name string) (Action, bool) {
	a, ok := v[kind].Actions[name]
	return a, ok
}

// New makes an empty resource of a kind; nil for an unknown kind.
func (v Vocabulary) New(kind Kind) Resource {
	d, ok := v[kind]
	if !ok {
		return nil
	}
	return d.New()
}
