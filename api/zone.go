package api

import (
	"context"
	"net/http"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type zonePatch struct {
	MetaPatch
	Spec *zoneSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type zoneSpecPatch struct {
	CPUOvercommit    *float64  `json:"cpuOvercommit,omitempty" minimum:"0" maximum:"64" doc:"How many times a host's CPUs may be given out; 0 means 4."`
	MemoryOvercommit *float64  `json:"memoryOvercommit,omitempty" minimum:"0" maximum:"8" doc:"How many times a host's memory may be given out; 0 means 1."`
	EgressAllow      *[]string `json:"egressAllow,omitempty" maxItems:"64" doc:"Address ranges (CIDR) downloads may connect to beside public ones; replaces all."`
	// Recovery changes what is given of it.
	Recovery *recoveryPatch `json:"recovery,omitempty" doc:"How machines are recovered whose host is lost."`
}

type recoveryPatch struct {
	SuspectSeconds *int       `json:"suspectSeconds,omitempty" minimum:"0" maximum:"86400" doc:"How long a host must not answer before anything is done, in seconds; 0 means 30."`
	Fraction       *float64   `json:"fraction,omitempty" minimum:"0" maximum:"1" doc:"Share of the hosts that must go within the window for nothing to be done without a release; 0 means 0.34."`
	WindowSeconds  *int       `json:"windowSeconds,omitempty" minimum:"0" maximum:"86400" doc:"That window, in seconds; 0 means 300."`
	AtOnce         *int       `json:"atOnce,omitempty" minimum:"0" maximum:"64" doc:"How many machines are recovered at the same time; 0 means 4."`
	ReleasedAt     *time.Time `json:"releasedAt,omitempty" doc:"Hosts that went before do not count towards the fraction any more."`
}

func (p *recoveryPatch) on(r *resources.RecoverySettings) {
	if p == nil {
		return
	}
	set(&r.SuspectSeconds, p.SuspectSeconds)
	set(&r.Fraction, p.Fraction)
	set(&r.WindowSeconds, p.WindowSeconds)
	set(&r.AtOnce, p.AtOnce)
	set(&r.ReleasedAt, p.ReleasedAt)
}

func (p zonePatch) apply(z *resources.Zone) {
	p.meta(&z.Meta)
	if p.Spec == nil {
		return
	}
	set(&z.Spec.CPUOvercommit, p.Spec.CPUOvercommit)
	set(&z.Spec.MemoryOvercommit, p.Spec.MemoryOvercommit)
	set(&z.Spec.EgressAllow, p.Spec.EgressAllow)
	p.Spec.Recovery.on(&z.Spec.Recovery)
}

// zoneChange are the parameters of a change of the zone, which needs no id.
type zoneChange struct {
	WriteParams
	MatchParams
}

// zone adds the routes of the one zone there is.
func (a *API) zone() {
	n := noun{resources.KindZone, "zone", "zones", "zone", "zone", "Zone"}
	register(a, route{
		id: "get-zone", method: http.MethodGet, path: "/v1/zone", tag: n.tag, summary: "Get the zone",
		about: "Reads the zone and its settings.", permission: door.To(door.VerbGet, n.kind),
	}, func(ctx context.Context, g door.Grant, _ *struct{}) (*one[resources.Zone], error) {
		z, err := a.theZone(ctx, g)
		if err != nil {
			return nil, err
		}
		return shownOne[resources.Zone](ctx, a, g, z)
	})
	r := patchRoute(n, "/v1/zone")
	r.id, r.summary = "update-zone", "Change the zone's settings"
	registerBody(a, r, func(ctx context.Context, g door.Grant, in *zoneChange, b *zonePatch) (*accepted, error) {
		z, err := a.theZone(ctx, g)
		if err != nil {
			return nil, err
		}
		target := ChangeParams{TargetParams{z.Metadata().ID}, in.WriteParams, in.MatchParams}
		return patched[zonePatch, resources.Zone](ctx, a, g, &target, *b)
	})
}

func (a *API) theZone(ctx context.Context, g door.Grant) (resources.Resource, error) {
	g, err := a.door.Also(g, door.To(door.VerbGet, resources.KindZone), "")
	if err != nil {
		return nil, err
	}
	p, err := a.door.List(ctx, g, resources.Query{Kind: resources.KindZone, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(p.Items) == 0 {
		return nil, &resources.Error{
			Class:   resources.ClassUnavailable,
			Code:    "no-zone",
			Message: "the zone is not set up yet",
			Remedy:  "try again shortly",
		}
	}
	return p.Items[0], nil
}

type tokenList struct {
	ListParams
	Role resources.Role `query:"role" doc:"Only tokens with this role."`
}

func (l *tokenList) facets() map[string]string { return given("role", string(l.Role)) }

type tokenPatch struct{ MetaPatch }

func (p tokenPatch) apply(t *resources.Token) { p.meta(&t.Meta) }

// tokenCreated holds the only copy of a token's secret.
type tokenCreated struct {
	Operation *resources.Operation `json:"operation" doc:"Operation that made the token."`
	Secret    string               `json:"secret" doc:"The token to send as bearer. It is shown this once." example:"bh_tok-01jd3v8x5m9k2q7r4t6w8y0z1a_0f3c5a79b1d2e4f60f3c5a79b1d2e4f60f3c5a79b1d2e4f60f3c5a79b1d2e4f6"`
}

type tokenAnswer struct {
	Location string `header:"Location" doc:"Path of the operation."`
	Body     tokenCreated
}

func (a *API) tokens() {
	n := noun{resources.KindToken, "token", "tokens", "token", "tokens", "Tokens"}
	addList[resources.Token, tokenList](a, n)
	addGet[resources.Token](a, n)
	addPatch[tokenPatch](a, n)
	addDelete(a, n)
	registerBody(a, route{
		id: "create-token", method: http.MethodPost, path: n.path(), tag: n.tag, status: http.StatusAccepted,
		summary: "Create a token", permission: door.To("create", n.kind),
		about: "Makes a token and answers with its secret, this once: only a digest is kept.",
	}, a.createToken)
}

func (a *API) createToken(
	ctx context.Context, g door.Grant, in *WriteParams, b *creation[resources.TokenSpec],
) (*tokenAnswer, error) {
	if o, err := a.repeated(ctx, g, *in); err != nil {
		return nil, err
	} else if o != nil {
		return nil, secretShown(o.Target)
	}
	secret := door.NewSecret()
	t := &resources.Token{Meta: b.meta(resources.KindToken), Spec: b.Spec}
	if err := a.checkNew(ctx, g, t, nil); err != nil {
		return nil, err
	}
	if !t.Spec.ExpiresAt.IsZero() && !t.Spec.ExpiresAt.After(a.now()) {
		return nil, invalid(resources.FieldError{
			Pointer: "/spec/expiresAt", Code: "out-of-range", Message: "must be in the future",
		})
	}
	t.Spec.ExpiresAt = t.Spec.ExpiresAt.UTC().Truncate(time.Second)
	t.Status.Digest = secret.Digest()
	o, err := a.submit(ctx, g, creating(t, nil), *in)
	if err != nil {
		return nil, err
	}
	if err := a.ownSecret(ctx, g, o, t.Status.Digest); err != nil {
		return nil, err
	}
	safe, err := a.accept(ctx, g, o)
	if err != nil {
		return nil, err
	}
	return &tokenAnswer{
		Location: safe.Location, Body: tokenCreated{Operation: safe.Body, Secret: secret.Bearer(o.Target.ID)},
	}, nil
}

// ownSecret makes sure that the token holds the secret of this request, and not
// that of an earlier one with the same idempotency key.
func (a *API) ownSecret(ctx context.Context, g door.Grant, o *resources.Operation, digest []byte) error {
	r, err := a.door.Get(ctx, g, o.Target.ID)
	if err != nil {
		return err
	}
	t, ok := r.(*resources.Token)
	if !ok {
		return wrongKind(r)
	}
	if string(t.Status.Digest) == string(digest) {
		return nil
	}
	return secretShown(t.Ref())
}

func secretShown(ref resources.Ref) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "secret-shown-once",
		Message: "the token was made by an earlier request with this idempotency key, which was answered with its secret",
		Remedy:  "use that secret, or delete the token and create another", Resource: &ref,
	}
}
