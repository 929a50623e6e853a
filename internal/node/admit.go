package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// admitter lets new members in.
type admitter struct{ node *Node }

// Admit implements join.Admitter.
func (a *admitter) Admit(ctx context.Context, r join.Request) (join.Welcome, error) {
	n := a.node
	if err := a.check(r); err != nil {
		return join.Welcome{}, err
	}
	w := n.network
	name := pki.Name{ClusterID: w.member.ClusterID, Role: r.Token.Role, Name: r.Name, Admission: r.Token.ID}
	if err := a.checkName(name); err != nil {
		return join.Welcome{}, err
	}
	welcome, err := w.sign(r.CertificateRequest, name)
	if err != nil {
		return join.Welcome{}, err
	}
	_, err = n.log.Propose(ctx, &persistence.Admit{
		Invitation: r.Token.ID, Digest: r.Token.Secret.Digest(), Key: digestOf(r.CertificateRequest),
		Member: persistence.Member{Role: string(r.Token.Role), Name: r.Name, Address: r.Address},
		Origin: resources.Origin{Principal: "join-token/" + r.Token.ID, Source: r.Address},
		Program: persistence.Program{
			Node: r.Name, Version: r.Version, Levels: persistence.Levels{Oldest: r.OldestLevel, Newest: r.NewestLevel},
		},
	})
	if e, ok := errors.AsType[*resources.Error](err); ok && e.Class != resources.ClassUnavailable {
		return join.Welcome{}, &join.Refusal{Code: e.Code, Message: e.Message, Remedy: e.Remedy}
	}
	if err != nil {
		return join.Welcome{}, err
	}
	n.config.Log.Info("a member joins", slog.String("role", string(name.Role)), slog.String("name", r.Name),
		slog.String("address", r.Address))
	if name.Role != pki.RoleNode {
		return welcome, nil
	}
	// From here on no key is replaced without it; one that was before is in the file, or it hears of that like all others.
	if welcome.SecretKeys, err = membership.SecretKeys(w.dir); err != nil {
		return join.Welcome{}, err
	}
	if err := n.cluster.Add(ctx, r.Name, r.Address); err != nil {
		return join.Welcome{}, err
	}
	return welcome, nil
}

// check refuses what can be seen to fail before the token is used up.
func (a *admitter) check(r join.Request) error {
	if err := checkClock(r.Clock, a.node.config.Name, time.Now()); err != nil {
		return err
	}
	if r.Token.Role != pki.RoleNode {
		return nil
	}
	return a.checkProgram(r)
}

// checkProgram refuses a program that can't work with the zone as it is.
func (a *admitter) checkProgram(r join.Request) error {
	level := a.node.machine.Level()
	switch format := cluster.FormatsOf(level).Entry; {
	case r.EntryFormat < format || r.NewestLevel < level:
		return &join.Refusal{
			Code: "program-too-old", Remedy: "install the version that the other nodes run",
			Message: fmt.Sprintf("the program that joins, %s, knows levels up to %d and log format %d: this zone is of "+
				"level %d, in log format %d", r.Version, r.NewestLevel, r.EntryFormat, level, format),
		}
	case r.OldestLevel > level:
		return &join.Refusal{
			Code: "program-too-new", Remedy: "upgrade this zone first, and finalize, or install the version that it runs",
			Message: fmt.Sprintf("the program that joins, %s, knows no level below %d, and this zone is of level %d",
				r.Version, r.OldestLevel, level),
		}
	}
	return nil
}

// checkClock refuses a member whose clock differs from that of the node it asks.
func checkClock(theirs time.Time, node string, now time.Time) error {
	off, way := theirs.Sub(now), "ahead of"
	if off < 0 {
		off, way = -off, "behind"
	}
	if off <= pki.Backdate {
		return nil
	}
	return &join.Refusal{
		Code: "clock-wrong", Remedy: "set the clock of the machine that joins, or that of the node (is NTP running?)",
		Message: fmt.Sprintf("the clock of the machine that joins is %s %s that of node %s, and at most %s is allowed: "+
			"they show %s and %s", off.Round(time.Second), way, node, pki.Backdate,
			theirs.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)),
	}
}

// checkName refuses the name of the node that began the cluster: the others are in
// the state, which refuses theirs.
func (a *admitter) checkName(name pki.Name) error {
	admitted, first := false, name
	first.Role = pki.RoleNode
	err := a.node.machine.View(func(v *persistence.View) (err error) {
		_, admitted, err = v.Member(string(first.Role), name.Name)
		return err
	})
	if err != nil || admitted || !a.node.isMember(first) {
		return err
	}
	return &join.Refusal{
		Code: "name-taken", Message: fmt.Sprintf("there is a %s already", first), Remedy: "choose another name",
	}
}
