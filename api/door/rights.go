package door

import (
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Things that are no resources and yet take a permission.
const (
	KindEvent   resources.Kind = "event"
	KindAudit   resources.Kind = "audit"
	KindMetrics resources.Kind = "metrics"
	KindBackup  resources.Kind = "backup"
	// KindNode and KindJoinToken are also what audit lines are about.
	KindNode      resources.Kind = "node"
	KindJoinToken resources.Kind = "join-token"
	KindUpgrade   resources.Kind = "upgrade"
	// KindRotation is the replacing of a secret that all nodes have.
	KindRotation resources.Kind = "rotation"
)

// The verbs that only read. All others change something.
const (
	VerbGet   = "get"
	VerbList  = "list"
	VerbWatch = "watch"
	// VerbLog is to read what a program printed, which may be anything.
	VerbLog = "log"
)

// Permission names one thing that can be done to one kind: "machine:start".
type Permission struct {
	Kind resources.Kind
	Verb string
}

// To makes a permission.
func To(verb string, kind resources.Kind) Permission { return Permission{Kind: kind, Verb: verb} }

// String returns "kind:verb".
func (p Permission) String() string { return string(p.Kind) + ":" + p.Verb }

func (p Permission) reads() bool {
	return p.Verb == VerbGet || p.Verb == VerbList || p.Verb == VerbWatch || p.Verb == VerbLog
}

// needed says which role a kind takes to read and to change.
type needed struct{ read, write resources.Role }

// rights are the whole of what roles may do. What is not in them is denied.
func rights() map[resources.Kind]needed {
	const admin, operator, reader = resources.RoleAdmin, resources.RoleOperator, resources.RoleReader
	return map[resources.Kind]needed{
		resources.KindZone:       {reader, admin},
		resources.KindToken:      {admin, admin},
		resources.KindPolicy:     {reader, admin},
		resources.KindDriver:     {reader, admin},
		resources.KindSwap:       {reader, admin},
		resources.KindCluster:    {reader, operator},
		resources.KindHost:       {reader, operator},
		resources.KindPool:       {reader, operator},
		resources.KindImageStore: {reader, operator},
		resources.KindTemplate:   {reader, operator},
		resources.KindNetwork:    {reader, operator},
		resources.KindAddress:    {reader, operator},
		resources.KindRule:       {reader, operator},
		resources.KindVolume:     {reader, operator},
		resources.KindSnapshot:   {reader, operator},
		resources.KindNic:        {reader, operator},
		resources.KindMachine:    {reader, operator},
		resources.KindOperation:  {reader, operator},
		KindEvent:                {reader, admin},
		KindAudit:                {admin, admin},
		KindMetrics:              {reader, admin},
		KindBackup:               {admin, admin},
		KindNode:                 {reader, operator},
		KindJoinToken:            {admin, admin},
		KindUpgrade:              {reader, admin},
		KindRotation:             {reader, admin},
	}
}

// rank orders the roles: each has all rights of those below. An unknown role
// has none.
func rank(r resources.Role) int {
	switch r {
	case resources.RoleAdmin:
		return 3
	case resources.RoleOperator:
		return 2
	case resources.RoleReader:
		return 1
	}
	return 0
}

// allows reports whether a role may do a thing.
func (d *Door) allows(role resources.Role, p Permission) bool {
	n, known := d.rights[p.Kind]
	if !known {
		return false
	}
	least := n.write
	switch {
	case p.Verb == VerbLog && rank(n.read) < rank(resources.RoleOperator):
		least = resources.RoleOperator
	case p.reads():
		least = n.read
	case p.Verb == VerbForget, p.Verb == VerbForgetVolume, // what is left behind nobody knows of
		p.Verb == VerbAttest, // a lie destroys disks
		p == To(string(NodeRemove), KindNode):
		least = resources.RoleAdmin
	}
	return rank(role) >= rank(least)
}

// visible reports whether a role may see a resource: its kind, and for an
// operation also the kind of what it is done to.
func (d *Door) visible(role resources.Role, r resources.Resource) bool {
	if !d.allows(role, To(VerbGet, r.Metadata().Kind)) {
		return false
	}
	if o, ok := r.(*resources.Operation); ok {
		return d.allows(role, To(VerbGet, o.Target.Kind))
	}
	return true
}
