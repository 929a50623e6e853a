package api

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/api/schema"
)

// revisionHeader tells in each answer the revision of the state it was made from.
const revisionHeader = "Bulkhead-Revision"

const (
	consistencyParam = "consistency"
	revisionParam    = "minRevision"

	linearizable = "linearizable"
	stale        = "stale"
)

// maxExact is the largest number that every reader of JSON reads exactly.
const maxExact = 1<<53 - 1

// consistencyParams describes what every route takes that reads. Its handler never
// sees them: they are read, and taken out of the request, before it is let in.
func consistencyParams() []*huma.Param {
	most := float64(maxExact)
	least := 1.0
	return []*huma.Param{
		{
			Name: consistencyParam, In: "query",
			Description: "How fresh the answer is. linearizable: it holds everything that any node answered before; a " +
				"majority of the nodes must be there. stale: it is what the node has that was asked, even if that is cut off.",
			Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{linearizable, stale}, Default: linearizable},
		},
		{
			Name: revisionParam, In: "query",
			Description: "Revision that the answer must hold: waits a few seconds for the node to have it, then answers " +
				"503. With stale, the " + revisionHeader + " of an earlier answer, and no node but this one is asked.",
			Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: &least, Maximum: &most},
		},
	}
}

// takeConsistency reads how fresh an answer must be and takes it out of the query.
// The query is left as it is if it can't be read: checkQuery says so. What is refused
// anyway may be stale.
func takeConsistency(u *url.URL) (Consistency, error) {
	if u.RawQuery == "" {
		return Consistency{}, nil
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(values[consistencyParam]) > 1 || len(values[revisionParam]) > 1 {
		return Consistency{Stale: true}, nil //nolint:nilerr // see above
	}
	c, err := readConsistency(values)
	if err != nil {
		return Consistency{Stale: true}, err
	}
	values.Del(consistencyParam)
	values.Del(revisionParam)
	u.RawQuery = values.Encode()
	return c, nil
}

func readConsistency(values url.Values) (c Consistency, err error) {
	if values.Has(consistencyParam) {
		switch values.Get(consistencyParam) {
		case linearizable:
		case stale:
			c.Stale = true
		default:
			return c, invalid(inParameter("query", consistencyParam, schema.CodeNotAllowed,
				"must be "+linearizable+" or "+stale))
		}
	}
	if values.Has(revisionParam) {
		c.AtLeast, err = strconv.ParseUint(values.Get(revisionParam), 10, 64)
		if err != nil || c.AtLeast == 0 || c.AtLeast > maxExact {
			return c, invalid(inParameter("query", revisionParam, schema.CodeOutOfRange,
				"must be a revision: a whole number from 1"))
		}
	}
	return c, nil
}

// tellRevisions describes the header that says what an answer was made from.
func (a *API) tellRevisions() {
	least := 1.0
	for _, item := range a.huma.OpenAPI().Paths {
		for _, op := range schema.Operations(item) {
			for status, r := range op.Responses {
				if status[0] != '2' {
					continue
				}
				if r.Headers == nil {
					r.Headers = map[string]*huma.Header{}
				}
				r.Headers[revisionHeader] = &huma.Header{Schema: &huma.Schema{
					Type: huma.TypeInteger, Format: "int64", Minimum: &least,
					Description: "Revision of the state that this was answered from: for " + revisionParam + ".",
				}}
			}
		}
	}
}

// showRevision writes the header.
func (c *call) showRevision(revision uint64) {
	if c.writer != nil && revision > 0 {
		c.writer.Header().Set(revisionHeader, strconv.FormatUint(revision, 10))
	}
}

// reads reports whether a request only reads, as its method says.
func reads(method string) bool { return method == http.MethodGet }
