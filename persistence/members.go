package persistence

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Invitation lets one member join the cluster, once, until it expires. Only a
// digest of its secret is kept.
type Invitation struct {
	ID        string    `json:"i"`
	Role      string    `json:"r"`
	Digest    string    `json:"d"`
	ExpiresAt time.Time `json:"x"`
	CreatedBy string    `json:"c"`
}

// The roles of members.
const (
	// RoleNode is the role of members that have shards: the nodes.
	RoleNode = "node"
	// RoleHost is the role of the agents of hosts.
	RoleHost = "host"
)

// Member is a process that was let into the cluster: a node, or the agent of a
// host.
type Member struct {
	Role    string    `json:"r"`
	Name    string    `json:"n"`
	Address string    `json:"a,omitempty"`
	Since   time.Time `json:"s"`
	// Expelled says that it may not come back without another invitation.
	Expelled bool `json:"x,omitempty"`
	// Draining says that it is to do no work.
	Draining bool `json:"d,omitempty"`
	// Admission tells its being let in from that of others of its name, before and after; empty for who began the
	// cluster. It is the id of the invitation.
	Admission string `json:"-"`
}

// Invite adds an invitation, or takes one back.
type Invite struct {
	Invitation Invitation       `json:"i"`
	Revoke     bool             `json:"v,omitempty"`
	Origin     resources.Origin `json:"w"`
}

func (*Invite) commandName() string { return "invite" }

func (c *Invite) apply(t *tx) (Result, error) {
	k := invitationKey(c.Invitation.ID)
	if !c.Revoke {
		if err := t.putRecord(k, "an invitation", c.Invitation); err != nil {
			return Result{}, err
		}
		return Result{}, t.auditMember(c.Origin, "create", "join-token", c.Invitation.ID)
	}
	_, known, err := t.Invitation(c.Invitation.ID)
	if err != nil {
		return Result{}, err
	}
	if !known {
		return Result{}, noInvitation(c.Invitation.ID)
	}
	t.pending.remove(k)
	return Result{}, t.auditMember(c.Origin, "delete", "join-token", c.Invitation.ID)
}

func noInvitation(id string) error {
	return &resources.Error{
		Class: resources.ClassNotFound, Code: "no-such-join-token", Message: fmt.Sprintf("there is no join token %q", id),
	}
}

// Admit lets a member in that came with the secret of an invitation, which is used
// up by it. The same member with the same invitation is let in again: its answer
// may have been lost.
type Admit struct {
	Invitation string `json:"i"`
	Digest     string `json:"d"`
	Member     Member `json:"m"`
	// Key is what the member is recognised by when it asks again.
	Key    string           `json:"k"`
	Origin resources.Origin `json:"w"`
	// Program that it will run. It is not looked at without FeatureKnownPrograms.
	Program Program `json:"p,omitzero"`
}

func (*Admit) commandName() string { return "admit" }

// admitted is what is kept of a member.
type admitted struct {
	Member
	Invitation string `json:"v,omitempty"`
	Digest     string `json:"g,omitempty"` // of the invitation's secret
	Key        string `json:"k,omitempty"`
}

func (c *Admit) apply(t *tx) (Result, error) {
	var had admitted
	known, err := t.record(memberKey(c.Member.Role, c.Member.Name), "a member", &had)
	if err != nil {
		return Result{}, err
	}
	if known && !had.Expelled && c.repeats(had) {
		return Result{}, nil
	}
	taken, err := c.taken(t)
	if err != nil {
		return Result{}, err
	}
	if err := c.check(t, taken); err != nil {
		return Result{}, err
	}
	if err := c.know(t); err != nil {
		return Result{}, err
	}
	next := admitted{Member: c.Member, Invitation: c.Invitation, Digest: c.Digest, Key: c.Key}
	next.Since = t.at
	t.pending.remove(invitationKey(c.Invitation))
	if err := t.putRecord(memberKey(next.Role, next.Name), "a member", next); err != nil {
		return Result{}, err
	}
	return Result{}, t.auditMember(c.Origin, "join", next.Role, next.Name)
}

// know writes down what program comes, and refuses one that is too old for the zone.
func (c *Admit) know(t *tx) error {
	enabled, err := t.Enabled(FeatureKnownPrograms)
	if err != nil || !enabled || c.Member.Role != RoleNode {
		return err
	}
	level, err := t.Level()
	if err != nil {
		return err
	}
	if c.Program.Levels.Newest < level {
		return programTooOld(c.Program, level)
	}
	return t.putProgram(c.Program)
}

// repeats reports whether it is the same who asked before.
func (c *Admit) repeats(had admitted) bool {
	return had.Invitation == c.Invitation && had.Key == c.Key &&
		subtle.ConstantTimeCompare([]byte(had.Digest), []byte(c.Digest)) == 1
}

// taken is the role of the member that has the name: resources name nodes and agents
// alike, so no two members share one from FeatureHostAgents on. "" = none has.
func (c *Admit) taken(t *tx) (string, error) {
	agents, err := t.Enabled(FeatureHostAgents)
	if err != nil {
		return "", err
	}
	for _, role := range []string{RoleNode, RoleHost} {
		if role != c.Member.Role && !agents {
			continue
		}
		m, known, err := t.Member(role, c.Member.Name)
		if err != nil || known && !m.Expelled {
			return role, err
		}
	}
	return "", nil
}

// check refuses who may not join.
func (c *Admit) check(t *tx, taken string) error {
	i, known, err := t.Invitation(c.Invitation)
	if err != nil {
		return err
	}
	const again = "make another with \"bulkhead join-token create\""
	switch {
	case !known:
		return c.used(t, again)
	case subtle.ConstantTimeCompare([]byte(i.Digest), []byte(c.Digest)) == 0:
		return &resources.Error{
			Class: resources.ClassDenied, Code: "join-token-wrong", Message: "the secret of this join token is wrong",
			Remedy: again,
		}
	case !t.at.Before(i.ExpiresAt):
		return &resources.Error{
			Class: resources.ClassDenied, Code: "join-token-expired", Remedy: again,
			Message: "this join token expired at " + i.ExpiresAt.UTC().Format(time.RFC3339),
		}
	case i.Role != c.Member.Role:
		return &resources.Error{
			Class: resources.ClassDenied, Code: "join-token-role", Remedy: again + " --role " + c.Member.Role,
			Message: fmt.Sprintf("this join token is for a %s, not a %s", i.Role, c.Member.Role),
		}
	case taken != "":
		return &resources.Error{
			Class: resources.ClassConflict, Code: "name-taken",
			Message: fmt.Sprintf("there is a %s named %q already", taken, c.Member.Name),
			Remedy:  "choose another name, or remove the old one first: bulkhead node remove " + c.Member.Name,
		}
	}
	return nil
}

// used says what became of an invitation that is not there.
func (c *Admit) used(t *tx, remedy string) error {
	members, err := t.Members()
	if err != nil {
		return err
	}
	message := "this join token was used by a member that is gone, was taken back, or is of another cluster"
	for _, m := range members {
		if m.Admission == c.Invitation {
			message = fmt.Sprintf("this join token was used already, by %s", memberName(m.Role, m.Name))
		}
	}
	return &resources.Error{Class: resources.ClassDenied, Code: "join-token-used", Remedy: remedy, Message: message}
}

// Expel takes a member out, or has it do no work, or work again.
type Expel struct {
	Role string `json:"r"`
	Name string `json:"n"`
	// Drain, if set, keeps the member, also if it was to be taken out, and says whether it is to do no work.
	Drain  *bool            `json:"d,omitempty"`
	Origin resources.Origin `json:"w"`
}

func (*Expel) commandName() string { return "expel" }

func (c *Expel) apply(t *tx) (Result, error) {
	var m admitted
	k := memberKey(c.Role, c.Name)
	if _, err := t.record(k, "a member", &m); err != nil {
		return Result{}, err
	}
	m.Role, m.Name = c.Role, c.Name // the first node was never admitted
	action := "remove"
	switch {
	case c.Drain == nil:
		m.Expelled = true
		if err := errors.Join(t.forgetProgram(c.Role, c.Name), t.forgetTroubles(c.Name)); err != nil {
			return Result{}, err
		}
	case *c.Drain:
		m.Draining, m.Expelled, action = true, false, "drain"
	default:
		m.Draining, m.Expelled, action = false, false, "resume"
	}
	if err := t.putRecord(k, "a member", m); err != nil {
		return Result{}, err
	}
	return Result{}, t.auditMember(c.Origin, action, c.Role, c.Name)
}

func (t *tx) auditMember(o resources.Origin, action, kind, name string) error {
	return t.audit(resources.Audit{
		Principal: o.Principal, Source: o.Source, RequestID: o.RequestID, Digest: o.Digest,
		Action: action, Target: resources.Ref{Kind: resources.Kind(kind), ID: name}, Decision: "accepted",
	})
}

// Invitation returns one by its id; false if there is none.
func (v *View) Invitation(id string) (i Invitation, known bool, err error) {
	known, err = v.record(invitationKey(id), "an invitation", &i)
	return i, known, err
}

// Invitations lists those that were not used yet, in the order of their ids.
func (v *View) Invitations() (list []Invitation, err error) {
	err = v.eachRecord([]byte(familyInvitation), func(data []byte) error {
		var i Invitation
		err := v.codec.unmarshal("an invitation", data, &i)
		list = append(list, i)
		return err
	})
	return list, err
}

// Members lists who was let in, expelled or asked to do no work, in the order of
// their roles and names.
func (v *View) Members() (list []Member, err error) {
	err = v.eachRecord([]byte(familyMember), func(data []byte) error {
		var m admitted
		err := v.codec.unmarshal("a member", data, &m)
		list = append(list, m.member())
		return err
	})
	return list, err
}

// Member returns one by its role and name; false if nothing is known of it.
func (v *View) Member(role, name string) (m Member, known bool, err error) {
	var a admitted
	known, err = v.record(memberKey(role, name), "a member", &a)
	return a.member(), known, err
}

func (a admitted) member() Member {
	m := a.Member
	m.Admission = a.Invitation
	return m
}

func invitationKey(id string) []byte { return key(familyInvitation, id) }

func memberKey(role, name string) []byte { return key(familyMember, role, name) }

func (v *View) eachRecord(family []byte, fn func(data []byte) error) error {
	return v.r.Scan(family, nil, func(_, value []byte) (bool, error) {
		err := fn(value)
		return err == nil, err
	})
}
