package resources

import (
	"cmp"
	"time"
)

// Zone is one failure and upgrade domain: one engine cluster, one Raft group.
// There is exactly one in the state.
type Zone struct {
	Meta
	Spec   ZoneSpec   `json:"spec"`
	Status ZoneStatus `json:"status"`
}

// ZoneSpec is what is asked of a zone.
type ZoneSpec struct {
	// How many times the CPUs of a host may be given out; 0 = 4.
	CPUOvercommit float64 `json:"cpuOvercommit,omitempty" doc:"How many times a host's CPUs may be given out; 0 means 4." minimum:"0" maximum:"64"`
	// How many times the memory of a host may be given out; 0 = 1.
	MemoryOvercommit float64 `json:"memoryOvercommit,omitempty" doc:"How many times a host's memory may be given out; 0 means 1." minimum:"0" maximum:"8"`
	// Recovery of machines whose host is lost.
	Recovery RecoverySettings `json:"recovery,omitzero" doc:"How machines are recovered whose host is lost."`
	// Addresses a template download may connect to beside public ones.
	EgressAllow []string `json:"egressAllow,omitempty" doc:"Address ranges (CIDR) downloads may connect to beside public ones." maxItems:"64"`
}

// RecoverySettings say how machines are recovered whose host is lost; what is 0 takes its
// default.
type RecoverySettings struct {
	SuspectSeconds int     `json:"suspectSeconds,omitempty" doc:"How long a host must not answer before anything is done, in seconds; 0 means 30." minimum:"0" maximum:"86400"`
	Fraction       float64 `json:"fraction,omitempty" doc:"Share of the hosts that must go within the window for nothing to be done without an operator's release; 0 means 0.34." minimum:"0" maximum:"1"`
	WindowSeconds  int     `json:"windowSeconds,omitempty" doc:"That window, in seconds; 0 means 300." minimum:"0" maximum:"86400"`
	AtOnce         int     `json:"atOnce,omitempty" doc:"How many machines are recovered at the same time; 0 means 4." minimum:"0" maximum:"64"`
	// ReleasedAt is an operator's word that what went before may be recovered.
	ReleasedAt time.Time `json:"releasedAt,omitzero" doc:"Hosts that went before do not count towards the fraction: an operator released them."`
}

// RecoverySettings returns those in force.
func (z *Zone) RecoverySettings() RecoverySettings {
	s := z.Spec.Recovery
	s.SuspectSeconds, s.WindowSeconds = cmp.Or(s.SuspectSeconds, 30), cmp.Or(s.WindowSeconds, 300)
	s.Fraction, s.AtOnce = cmp.Or(s.Fraction, 0.34), cmp.Or(s.AtOnce, 4)
	return s
}

// ZoneStatus is what was observed of a zone.
type ZoneStatus struct {
	ClusterID string `json:"clusterId" doc:"Identity of the management cluster."`
	Shards    int    `json:"shards" doc:"Number of shards resources are placed by."`
	// StateVerifiedAt is when a node last read all of the state on its disk and found
	// it whole.
	StateVerifiedAt time.Time `json:"stateVerifiedAt,omitzero" doc:"When all of the state on disk was last read and found whole, while serving."`
}

const (
	defaultCPUOvercommit    = 4
	defaultMemoryOvercommit = 1
)

// Overcommit returns the factors in force.
func (z *Zone) Overcommit() (cpu, memory float64) {
	cpu, memory = z.Spec.CPUOvercommit, z.Spec.MemoryOvercommit
	if cpu == 0 {
		cpu = defaultCPUOvercommit
	}
	if memory == 0 {
		memory = defaultMemoryOvercommit
	}
	return cpu, memory
}

// Validate implements Resource.
func (z *Zone) Validate(p *Problems) {
	ValidateMeta(&z.Meta, p)
	s := p.In("spec")
	if z.Spec.CPUOvercommit < 0 || z.Spec.CPUOvercommit > 64 {
		s.In("cpuOvercommit").Add("out-of-range", "must be between 0 and 64")
	}
	if z.Spec.MemoryOvercommit < 0 || z.Spec.MemoryOvercommit > 8 {
		s.In("memoryOvercommit").Add("out-of-range", "must be between 0 and 8")
	}
	if f := z.Spec.Recovery.Fraction; f < 0 || f > 1 {
		s.In("recovery/fraction").Add("out-of-range", "must be between 0 and 1")
	}
	for name, n := range map[string]int{
		"suspectSeconds": z.Spec.Recovery.SuspectSeconds, "windowSeconds": z.Spec.Recovery.WindowSeconds,
		"atOnce": z.Spec.Recovery.AtOnce,
	} {
		if n < 0 {
			s.In("recovery/"+name).Add("out-of-range", "must not be negative")
		}
	}
	for i, c := range z.Spec.EgressAllow {
		validatePrefix(s.In("egressAllow").At(i), c)
	}
}

// Level is that of the zones whose programs know all of it.
func (z *Zone) Level() uint32 { return levelIf(z.Spec.Recovery != RecoverySettings{}) }

// References implements Resource.
func (z *Zone) References() []Ref { return nil }

// Facets implements Resource.
func (z *Zone) Facets() map[string]string { return nil }

func zoneDefinition() Definition {
	return Definition{
		Kind: KindZone, Prefix: "zone", Plural: "zones", New: func() Resource { return &Zone{Meta: Meta{Kind: KindZone}} },
		Phases:  simpleTable(),
		Actions: actions(updateAction()),
		Mutable: []string{"cpuOvercommit", "memoryOvercommit", "egressAllow", "recovery"},
	}
}

// Token is a credential of the API: only a digest of its secret is kept.
type Token struct {
	Meta
	Spec   TokenSpec   `json:"spec"`
	Status TokenStatus `json:"status"`
}

// TokenSpec is what is asked of a token.
type TokenSpec struct {
	Role      Role      `json:"role" doc:"What the bearer may do." enum:"admin,operator,reader"`
	ExpiresAt time.Time `json:"expiresAt,omitzero" doc:"When it stops to work; absent means never."`
}

// TokenStatus is what the zone keeps of a token.
type TokenStatus struct {
	// SHA-256 of the secret. Secrets have 256 random bits, so no salt or
	// stretching is needed.
	Digest []byte `json:"-" cbor:"digest"`
}

// Role is what a principal may do.
type Role string

// The roles, each with all rights of the next.
const (
	RoleAdmin    Role = "admin"
	RoleOperator Role = "operator"
	RoleReader   Role = "reader"
)

// Validate implements Resource.
func (t *Token) Validate(p *Problems) {
	ValidateMeta(&t.Meta, p)
	RequireName(&t.Meta, p)
	p.In("spec").OneOf("role", string(t.Spec.Role), string(RoleAdmin), string(RoleOperator), string(RoleReader))
}

// References implements Resource.
func (t *Token) References() []Ref { return nil }

// Facets implements Resource.
func (t *Token) Facets() map[string]string { return map[string]string{"role": string(t.Spec.Role)} }

func tokenDefinition() Definition {
	return Definition{
		Kind: KindToken, Prefix: "tok", Plural: "tokens",
		New:    func() Resource { return &Token{Meta: Meta{Kind: KindToken}} },
		Phases: simpleTable(), Actions: instantActions(),
	}
}

// instantActions are those of kinds that no driver realises: done as soon as
// they are accepted.
func instantActions() map[string]Action {
	return actions(createAction(time.Minute), updateAction(), deleteAction(time.Minute))
}
