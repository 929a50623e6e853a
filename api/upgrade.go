package api

import (
	"context"
	"net/http"

	"github.com/bulkhead-cloud/bulkhead/api/door"
)

type upgradeAnswer struct{ Body *door.UpgradeView }

// finalization is the body that raises the level of the zone.
type finalization struct {
	Level uint32 `json:"level,omitempty" minimum:"1" doc:"Level to raise the zone to; absent means the target, see there. Say it, and nothing else than what you have seen is done."`
}

const upgradePath = "/v1/upgrade"

func (a *API) upgrades() {
	register(a, route{
		id: "get-upgrade", method: http.MethodGet, path: upgradePath, tag: "Upgrade", summary: "Show how far an upgrade is",
		about: "Asks all nodes what they run, and says what of it the zone can do already. A node that does not answer is " +
			"listed with why. While no majority of them answers, ask with consistency=stale.",
		permission: door.To(door.VerbGet, door.KindUpgrade),
	}, func(ctx context.Context, g door.Grant, _ *struct{}) (*upgradeAnswer, error) {
		return upgradeOf(a.door.Upgrade(ctx, g))
	})
	registerBody(a, route{
		id: "finalize-upgrade", method: http.MethodPost, path: upgradePath + "/actions/finalize", tag: "Upgrade",
		summary: "Finalize an upgrade", permission: door.To(door.VerbFinalize, door.KindUpgrade), optional: true,
		about: "Raises the level of the zone, for good: from then on no program can take part that knows only levels " +
			"below. Refused with nodes-behind if a node runs such a program, or does not say what it runs. A zone that is of " +
			"the level stays as it is.",
	}, func(ctx context.Context, g door.Grant, _ *struct{}, b *finalization) (*upgradeAnswer, error) {
		return upgradeOf(a.door.Finalize(ctx, g, b.Level, callFrom(ctx).origin()))
	})
}

// upgradeOf answers with lists that are there if they are empty.
func upgradeOf(v door.UpgradeView, err error) (*upgradeAnswer, error) {
	v.Blockers = append([]string{}, v.Blockers...)
	v.Nodes = append([]door.NodeProgram{}, v.Nodes...)
	v.Features = append([]door.FeatureView{}, v.Features...)
	return &upgradeAnswer{&v}, err
}
