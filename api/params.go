package api

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TargetParams names the resource a request is about.
type TargetParams struct {
	ID string `path:"id" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"an id, such as vol-01j9zq4t8k6m3n5p7r9s2v4w6x" doc:"Id of the resource."`
}

// WaitParams lets a request wait for the operation it starts.
type WaitParams struct {
	Wait string `query:"wait" pattern:"^[0-9]{1,3}s?$" patternDescription:"seconds from 0 to 300, such as 30s" maxLength:"4" example:"30s" doc:"How long to wait for the operation to end, in seconds, at most 300. The answer is the same, ended or not."`
}

// WriteParams are what every change takes.
type WriteParams struct {
	WaitParams
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repetition of the request answer with the first operation. Kept 24 hours."`
}

// MatchParams make a change conditional.
type MatchParams struct {
	IfMatch string `header:"If-Match" maxLength:"64" example:"\"42\"" doc:"Only if the resource still has this ETag."`
}

// ListParams select from a list and page through it.
type ListParams struct {
	Name          string            `query:"name" maxLength:"63" doc:"Only the resource with this name."`
	Phase         []resources.Phase `query:"phase" maxItems:"16" doc:"Only resources in one of these phases, separated by commas."`
	LabelSelector string            `query:"labelSelector" maxLength:"1024" example:"tier=web,env=prod" doc:"Only resources with all of these labels: key=value, separated by commas."`
	Order         resources.Order   `query:"order" doc:"Whether the oldest come first, which they do unless asked otherwise, or the newest."`
	PageSize      int               `query:"pageSize" minimum:"1" maximum:"1000" default:"100" doc:"Largest number of items in the answer."`
	PageToken     string            `query:"pageToken" maxLength:"512" doc:"The nextPageToken of the page before; with the same filters and order."`
}

const (
	longestWait   = 300 * time.Second
	anyRevision   = "*"
	noMoreThanAll = 16 // labels in one selector
)

// duration reads the wait parameter, whose form was checked.
func (w WaitParams) duration() (time.Duration, error) {
	if w.Wait == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimSuffix(w.Wait, "s"))
	d := time.Duration(n) * time.Second
	if err != nil || d > longestWait {
		return 0, invalid(inParameter("query", "wait", "out-of-range", "must be at most 300 seconds"))
	}
	return d, nil
}

// revision reads If-Match: 0 if there is none or any will do.
func (m MatchParams) revision() (uint64, error) {
	if m.IfMatch == "" || m.IfMatch == anyRevision {
		return 0, nil
	}
	text, ok := strings.CutPrefix(m.IfMatch, `"`)
	text, closed := strings.CutSuffix(text, `"`)
	n, err := strconv.ParseUint(text, 10, 64)
	if !ok || !closed || err != nil || n == 0 {
		return 0, invalid(inParameter("header", "If-Match", "bad-format", `must be one strong ETag, such as "42", or *`))
	}
	return n, nil
}

// etag is a resource's revision as an entity tag.
func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// keyPattern is what an idempotency key may hold: printable ASCII.
var keyPattern = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

func (w WriteParams) key() (string, error) {
	if w.IdempotencyKey != "" && !keyPattern.MatchString(w.IdempotencyKey) {
		return "", invalid(inParameter("header", "Idempotency-Key", "bad-format",
			"must be 1 to 255 printable ASCII characters without spaces"))
	}
	return w.IdempotencyKey, nil
}

// labels reads a label selector.
func (l ListParams) labels() (map[string]string, error) {
	if l.LabelSelector == "" {
		return nil, nil
	}
	m := map[string]string{}
	for term := range strings.SplitSeq(l.LabelSelector, ",") {
		key, value, ok := strings.Cut(term, "=")
		if _, twice := m[key]; !ok || key == "" || twice || len(m) >= noMoreThanAll {
			return nil, invalid(inParameter("query", "labelSelector", "bad-format",
				"must be at most 16 terms key=value, separated by commas, each key once"))
		}
		m[key] = value
	}
	return m, nil
}
