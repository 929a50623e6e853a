package metrics_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/internal/metrics"
)

func TestFiguresAreServed(t *testing.T) {
	r := metrics.New("1.2.3")
	r.Proposed(time.Millisecond, nil)
	r.Proposed(time.Millisecond, errors.New("full"))
	r.OperationEnded("volume", "create", "succeeded", time.Second)
	r.Led(true)
	answer := httptest.NewRecorder()
	r.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`bulkhead_build_info{version="1.2.3"} 1`,
		`bulkhead_log_proposal_seconds_count{outcome="failed"} 1`,
		`bulkhead_operations_ended_total{action="create",kind="volume",outcome="succeeded"} 1`,
		`bulkhead_log_leading 1`,
	} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("figures lack %s", want)
		}
	}
}
