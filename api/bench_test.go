package api_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// BenchmarkRequests measures what the API itself costs: the zone answers from
// memory.
func BenchmarkRequests(b *testing.B) {
	t := &testing.T{}
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) { o.Log = slog.New(slog.DiscardHandler) })
	for i := range 100 {
		s.zone.Add(&resources.Cluster{Meta: resources.Meta{Kind: resources.KindCluster, Name: fmt.Sprintf("c%d", i)}})
	}
	id := s.zone.Add(&resources.Cluster{Meta: resources.Meta{Kind: resources.KindCluster, Name: "one"}})
	for name, r := range map[string]request{
		"get":    {method: "GET", path: "/v1/clusters/" + id, as: operator},
		"list":   {method: "GET", path: "/v1/clusters?pageSize=100", as: operator},
		"plan":   {method: "POST", path: "/v1/clusters/actions/plan", as: operator, body: `{"name":"x","spec":{}}`},
		"refuse": {method: "GET", path: "/v1/clusters"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				body, _ := r.body.(string)
				req := httptest.NewRequest(r.method, r.path, strings.NewReader(body))
				req.Header.Set("Content-Type", "application/json")
				if r.as != "" {
					req.Header.Set("Authorization", "Bearer "+s.tokens[r.as])
				}
				w := httptest.NewRecorder()
				s.api.Handler().ServeHTTP(w, req)
				if w.Code >= http.StatusInternalServerError {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
