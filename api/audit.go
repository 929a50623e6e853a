package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// auditLine is one line of the audit log.
type auditLine struct {
	Position  string        `json:"position" doc:"Place in the log." example:"4711.0"`
	At        time.Time     `json:"at" doc:"When it was agreed."`
	Principal string        `json:"principal" doc:"Who asked: name and id of a token." example:"ci/tok-01jd3v8x5m9k2q7r4t6w8y0z1a"`
	Source    string        `json:"source,omitempty" doc:"Network address the request came from."`
	RequestID string        `json:"requestId,omitempty" doc:"Id of the request."`
	Action    string        `json:"action" doc:"What was asked for."`
	Target    resources.Ref `json:"target" doc:"Resource it was asked of."`
	Decision  string        `json:"decision" doc:"What was said."`
	Statement string        `json:"statement,omitempty" doc:"What was attested, in the words of who did."`
	Digest    string        `json:"digest,omitempty" doc:"SHA-256 of the request's body, in hex."`
	Chain     string        `json:"chain,omitempty" doc:"SHA-256 over the line before and this one, in hex."`
}

type auditPage struct {
	Items         []auditLine `json:"items" doc:"Lines, in the order asked for."`
	NextPageToken string      `json:"nextPageToken,omitempty" doc:"Token of the next page; absent when there is no more now."`
}

type auditParams struct {
	Order     resources.Order `query:"order" doc:"Whether the oldest lines come first, which they do unless asked otherwise, or the newest."`
	PageSize  int             `query:"pageSize" minimum:"1" maximum:"1000" default:"100" doc:"Largest number of lines in the answer."`
	PageToken string          `query:"pageToken" maxLength:"512" doc:"The nextPageToken of the page before; with the same order."`
}

type auditAnswer struct{ Body auditPage }

func (a *API) audit() {
	register(a, route{
		id: "list-audit-lines", method: http.MethodGet, path: "/v1/audit", tag: "Audit", summary: "Read the audit log",
		about:      "Lists who asked for what, in order, from the first line that is kept or the last.",
		permission: door.To(door.VerbList, door.KindAudit),
	}, func(ctx context.Context, g door.Grant, in *auditParams) (*auditAnswer, error) {
		from, err := in.from()
		if err != nil {
			return nil, err
		}
		lines, err := a.door.AuditLog(ctx, g, from, in.Order, in.PageSize)
		if err != nil {
			return nil, err
		}
		out := &auditAnswer{Body: auditPage{Items: make([]auditLine, 0, len(lines))}}
		for _, l := range lines {
			out.Body.Items = append(out.Body.Items, auditLineOf(l))
		}
		if len(lines) == in.PageSize {
			last := lines[len(lines)-1].Position
			out.Body.NextPageToken = pageToken{
				Revision: last.Revision, After: last.String(), Filter: in.filter(),
			}.String()
		}
		return out, nil
	})
}

// filter is what a page token of the log was made for, as filterOf of a list.
func (p auditParams) filter() []byte {
	if p.Order == resources.OrderNewest {
		return []byte(p.Order)
	}
	return nil
}

func (p auditParams) from() (resources.Position, error) {
	if p.PageToken == "" {
		return resources.Position{}, nil
	}
	t, err := parsePageToken(p.PageToken, p.filter())
	if err != nil {
		return resources.Position{}, err
	}
	at, err := resources.ParsePosition(t.After)
	if err != nil {
		return resources.Position{}, invalid(inParameter("query", "pageToken", "bad-token", "is not a token of this API"))
	}
	return at, nil
}

func auditLineOf(l resources.Audit) auditLine {
	return auditLine{
		Position: l.Position.String(), At: l.At, Principal: l.Principal, Source: l.Source, RequestID: l.RequestID,
		Action: l.Action, Target: l.Target, Decision: l.Decision, Statement: l.Statement,
		Digest: hex.EncodeToString(l.Digest), Chain: hex.EncodeToString(l.Chain),
	}
}
