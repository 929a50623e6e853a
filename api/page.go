package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// page is one page of a list.
type page[R any] struct {
	Items         []*R   `json:"items" doc:"The resources, in the order asked for."`
	NextPageToken string `json:"nextPageToken,omitempty" doc:"Token of the next page; absent on the last."`
	Revision      uint64 `json:"revision" doc:"Revision of the state this was read from: follow events from here."`
}

// pageToken is where a list goes on. Callers see it as an opaque text.
type pageToken struct {
	Revision uint64 `json:"r"`
	After    string `json:"a"`
	Filter   []byte `json:"f"`
}

func (t pageToken) String() string {
	raw, err := json.Marshal(t)
	if err != nil {
		return "" // numbers and text always marshal
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parsePageToken reads a token that was made for the same filters.
func parsePageToken(text string, filter []byte) (pageToken, error) {
	var t pageToken
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	if err != nil || t.After == "" {
		return pageToken{}, invalid(inParameter("query", "pageToken", "bad-token", "is not a token of this API"))
	}
	if string(t.Filter) != string(filter) {
		return pageToken{}, invalid(inParameter("query", "pageToken", "other-filters",
			"was made for other filters: send the same filters and order with each page"))
	}
	return t, nil
}

// filterOf is a short fingerprint of what a list selects, and in which order.
func filterOf(q resources.Query) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%v\n", q.Kind, q.Name, q.Phases)
	for _, m := range []map[string]string{q.Facets, q.Labels} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(h, "%q=%q\n", k, m[k])
		}
		fmt.Fprintln(h)
	}
	if q.Order == resources.OrderNewest {
		fmt.Fprintln(h, q.Order)
	}
	return h.Sum(nil)[:8]
}
