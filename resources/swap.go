package resources

import "time"

// Swap has another version of a driver act for resources, one by one, while they are used.
type Swap struct {
	Meta
	Spec   SwapSpec   `json:"spec"`
	Status SwapStatus `json:"status"`
}

// SwapSpec is what is asked of a swap.
type SwapSpec struct {
	To   DriverID `json:"to" doc:"Version that is to act: a driver."`
	From DriverID `json:"from,omitempty" doc:"Version that acts now; if none is named, the product's current one."`
	// Scope narrows down which resources it is for.
	Scope SwapScope `json:"scope,omitzero" doc:"Which resources it is for; all that the version acts for if it says nothing."`
	// Canaries are moved first, and observed before the rest follows.
	Canaries       []Ref  `json:"canaries,omitempty" maxItems:"100" doc:"Resources that are moved first; chosen if none are named."`
	CanaryCount    uint32 `json:"canaryCount,omitempty" maximum:"100" doc:"How many are moved first if none are named; 1 if it is 0."`
	ObserveSeconds uint32 `json:"observeSeconds,omitempty" maximum:"86400" doc:"How long those that were moved first are observed before the rest follows; 30 if it is 0."`
	SettleSeconds  uint32 `json:"settleSeconds,omitempty" maximum:"86400" doc:"How long all are observed, with the version of before ready to take over again, before it is committed; 10 if it is 0."`
	AtOnce         uint32 `json:"atOnce,omitempty" maximum:"1024" doc:"How many that nobody works on are moved at the same time at most; 8 if it is 0. Fewer are where others would have to wait for them."`
	// AcceptPermissions and AcceptOneWay are given by who has read the plan.
	AcceptPermissions bool `json:"acceptPermissions,omitempty" doc:"Whether the version may do what the one of before could not: see permissionsAdded."`
	AcceptOneWay      bool `json:"acceptOneWay,omitempty" doc:"Whether it may begin though there is no way back: see oneWay."`
}

// SwapScope selects resources; what it names must all hold.
type SwapScope struct {
	Resource Ref               `json:"resource,omitzero" doc:"This one alone."`
	Owner    Ref               `json:"owner,omitzero" doc:"A pool, host, network or image store, with all that is in or on it."`
	Labels   map[string]string `json:"labels,omitempty" doc:"Those with these labels."`
}

// IsAll reports whether it selects everything.
func (s SwapScope) IsAll() bool { return s.Resource.IsZero() && s.Owner.IsZero() && len(s.Labels) == 0 }

// SwapStatus is what became of a swap.
type SwapStatus struct {
	Product     string   `json:"product,omitempty" doc:"Vendor and name of the driver."`
	FromVersion string   `json:"fromVersion,omitempty" doc:"Version that acted before."`
	ToVersion   string   `json:"toVersion,omitempty" doc:"Version that is to act."`
	Plan        SwapPlan `json:"plan,omitzero" doc:"What it comes to, when it was planned."`
	Canaries    []Ref    `json:"canaries,omitempty" doc:"Resources that were moved first."`
	// Before and After are of the same resources.
	Before SwapHealth `json:"before,omitzero" doc:"How those answered with the version of before."`
	After  SwapHealth `json:"after,omitzero" doc:"How those answered since they were moved."`
	Moved  int        `json:"moved" doc:"How many resources were moved."`
	Left   int        `json:"left" doc:"How many are left to be moved."`
	// MadeCurrent: the new version was made the product's current one by this swap.
	MadeCurrent bool `json:"madeCurrent,omitempty" doc:"Whether it made the version the current one."`
	// StartedBy is the operation that carried it out.
	StartedBy OperationID `json:"startedBy,omitempty" doc:"Operation that carried it out."`
}

// SwapPlan says what a swap comes to before it begins.
type SwapPlan struct {
	Resources map[string]int `json:"resources,omitempty" doc:"How many resources are moved, by kind."`
	Busy      int            `json:"busy" doc:"How many of them are being worked on: they are moved when that has ended."`
	Suspended int            `json:"suspended" doc:"How many of them are suspended: they stay as they are."`
	// PermissionsAdded must be accepted.
	PermissionsAdded   []string `json:"permissionsAdded,omitempty" doc:"What the version may do that the one of before may not."`
	PermissionsRemoved []string `json:"permissionsRemoved,omitempty" doc:"What it may not do any more."`
	PropertiesAdded    []string `json:"propertiesAdded,omitempty" doc:"Settings that are new, by scope and key."`
	PropertiesRemoved  []string `json:"propertiesRemoved,omitempty" doc:"Settings that it does not know any more: they are kept, for the way back."`
	PropertiesChanged  []string `json:"propertiesChanged,omitempty" doc:"Settings of which it says something else."`
	PropertiesInWords  []string `json:"propertiesInWords,omitempty" doc:"What becomes of these settings and of the values that they have, a sentence for each."`
	PropertiesMissing  []string `json:"propertiesMissing,omitempty" doc:"Settings that the version needs and nobody has given: it can't begin before. Driver-wide ones by key, those of resources by kind, key and id: pool/quota of pool-01hzy."`
	SettingsChanged    []string `json:"settingsChanged,omitempty" doc:"Driver-wide settings that have another value with the version."`
	// OneWay: the version of before can't read what the new one remembers.
	OneWay bool `json:"oneWay,omitempty" doc:"Whether there is no way back once a resource was moved: the version of before can't read what the new one remembers."`
	// NoReturn says which step is the last that can be taken back.
	NoReturn string `json:"noReturn,omitempty" doc:"Step from which on it is not taken back by itself."`
}

// SwapHealth is how the canaries answered.
type SwapHealth struct {
	Probes    int     `json:"probes" doc:"How often they were asked how they are."`
	Failed    int     `json:"failed" doc:"How often the answer was bad, or none came."`
	P50Millis float64 `json:"p50Millis" doc:"Median time of an answer, in milliseconds."`
	P99Millis float64 `json:"p99Millis" doc:"99th percentile of it, in milliseconds."`
	LastError string  `json:"lastError,omitempty" doc:"Last bad answer, in words."`
}

// IsZero reports whether nobody was asked.
func (h SwapHealth) IsZero() bool { return h.Probes == 0 }

// IsZero reports whether it was not planned yet.
func (p SwapPlan) IsZero() bool { return p.NoReturn == "" }

// Phases of a swap alone.
const (
	PhasePlanned     Phase = "planned"
	PhaseSwapping    Phase = "swapping"
	PhaseCommitted   Phase = "committed"
	PhaseRollingBack Phase = "rolling-back"
	PhaseRolledBack  Phase = "rolled-back"
)

// Defaults of a swap.
const (
	DefaultObserveSeconds = 30
	DefaultSettleSeconds  = 10
	DefaultSwapsAtOnce    = 8
	maxCanaries           = 100
	maxSwapsAtOnce        = 1024
	maxObserveSeconds     = 86400
	swapDeadline          = 30 * 24 * time.Hour
	rebindDeadline        = 5 * time.Second
)

// Validate implements Resource.
func (s *Swap) Validate(p *Problems) {
	ValidateMeta(&s.Meta, p)
	f := p.In("spec")
	f.Required("to", string(s.Spec.To))
	if s.Spec.From != "" && s.Spec.From == s.Spec.To {
		f.In("to").Add("same-version", "is the version that acts now")
	}
	f.Between("canaryCount", uint64(s.Spec.CanaryCount), 0, maxCanaries)
	f.Between("observeSeconds", uint64(s.Spec.ObserveSeconds), 0, maxObserveSeconds)
	f.Between("settleSeconds", uint64(s.Spec.SettleSeconds), 0, maxObserveSeconds)
	f.Between("atOnce", uint64(s.Spec.AtOnce), 0, maxSwapsAtOnce)
	if len(s.Spec.Canaries) > maxCanaries {
		f.In("canaries").Add("too-many", "has %d; %d are the most", len(s.Spec.Canaries), maxCanaries)
	}
	for i, ref := range s.Spec.Canaries {
		checkWhole(f.In("canaries").At(i), ref)
	}
	scope := f.In("scope")
	if !s.Spec.Scope.Resource.IsZero() {
		checkWhole(scope.In("resource"), s.Spec.Scope.Resource)
	}
	if owner := s.Spec.Scope.Owner; !owner.IsZero() {
		checkWhole(scope.In("owner"), owner)
	}
}

func checkWhole(p *Problems, ref Ref) {
	p.Required("kind", string(ref.Kind))
	p.Required("id", ref.ID)
}

// Level is that of the zones whose programs know swaps.
func (s *Swap) Level() uint32 { return levelIf(true) }

// References implements Resource. A swap outlives the versions that it was between.
func (s *Swap) References() []Ref { return nil }

// Facets implements Resource.
func (s *Swap) Facets() map[string]string {
	m := map[string]string{}
	facet(m, "product", s.Status.Product)
	facet(m, "to", string(s.Spec.To))
	return m
}

func swapTable() Table {
	return Table{
		PhasePending:     {PhaseCreating, PhaseFailed, PhaseDeleting, PhaseDeleted},
		PhaseCreating:    {PhasePlanned, PhaseFailed},
		PhasePlanned:     {PhaseSwapping, PhaseDeleted},
		PhaseSwapping:    {PhaseCommitted, PhaseRolledBack},
		PhaseCommitted:   {PhaseRollingBack, PhaseDeleted},
		PhaseRollingBack: {PhaseRolledBack, PhaseCommitted},
		PhaseRolledBack:  {PhaseSwapping, PhaseDeleted},
		PhaseFailed:      {PhaseDeleted},
		PhaseDeleting:    {PhaseDeleted},
		PhaseDeleted:     {},
	}
}

func swapDefinition() Definition {
	create := createAction(time.Minute)
	create.After = PhasePlanned
	return Definition{
		Kind: KindSwap, Prefix: "swp", Plural: "swaps", New: func() Resource { return &Swap{Meta: Meta{Kind: KindSwap}} },
		Phases: swapTable(),
		Actions: actions(
			create,
			Action{
				Name: "start", Level: 2, From: []Phase{PhasePlanned, PhaseRolledBack}, During: PhaseSwapping,
				After: PhaseCommitted, Undone: PhaseRolledBack, Deadline: swapDeadline, Final: "commit",
				Summary: "Have the other version act",
			},
			Action{
				Name: "roll-back", Level: 2, From: []Phase{PhaseCommitted}, During: PhaseRollingBack,
				After: PhaseRolledBack, Undone: PhaseCommitted, Deadline: swapDeadline,
				Summary: "Have the version of before act again",
			},
			Action{
				Name: "delete", From: []Phase{PhasePlanned, PhaseCommitted, PhaseRolledBack, PhaseFailed},
				After: PhaseDeleted, Deadline: time.Minute, Summary: "Delete", Deletes: true,
			},
		),
	}
}

// rebindIn is the action that has another version of the driver act for a resource. It goes on in any phase of the
// kind's table that a resource can rest in, and changes none: one that is bound and could not be moved would keep a
// swap from its end.
func rebindIn(t Table) Action {
	return Action{
		Name: "rebind", Level: 2, From: t.rests(), Deadline: rebindDeadline, Internal: true,
		Summary: "Have another version of its driver act",
	}
}
