package metrics_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/bulkhead-cloud/bulkhead/internal/metrics"
)

// said is a source that says a text.
func said(t *testing.T, text string) metrics.Source {
	t.Helper()
	return func(context.Context) (families []*dto.MetricFamily) {
		parser := expfmt.NewTextParser(model.LegacyValidation)
		found, err := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			families = append(families, f)
		}
		return families
	}
}

// read reads the page.
func read(t *testing.T, r *metrics.Registry) string {
	t.Helper()
	answer := httptest.NewRecorder()
	r.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

func TestSourcesAreServedBesideEachOther(t *testing.T) {
	r := metrics.New("1.2.3")
	r.Also(said(t, "# TYPE a_total counter\na_total{x=\"1\"} 1\n"))
	r.Also(said(t, "# TYPE a_total counter\na_total{x=\"2\"} 2\n"))
	page := read(t, r)
	if strings.Count(page, "# TYPE a_total counter") != 1 ||
		!strings.Contains(page, "a_total{x=\"1\"} 1\na_total{x=\"2\"} 2\n") {
		t.Errorf("two sources with one metric:\n%s", page)
	}
}

// TestSourcesDoNotSpoilThePage: what is of another type, or named as a series of another metric, is left out.
func TestSourcesDoNotSpoilThePage(t *testing.T) {
	r := metrics.New("1.2.3")
	r.Also(said(t, "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n# TYPE a_total counter\na_total 1\n"))
	r.Also(said(t, "# TYPE h_count counter\nh_count 770077077\n"))
	r.Also(said(t, "# TYPE a_total gauge\na_total 770077077\n"))
	r.Also(said(t, "# TYPE bulkhead_log_leading counter\nbulkhead_log_leading 770077077\n"))
	r.Also(said(t, "# TYPE bulkhead_log_frame_commands_sum gauge\nbulkhead_log_frame_commands_sum 770077077\n"))
	page := read(t, r)
	if strings.Contains(page, "7.70077077e+08") {
		t.Errorf("a source says what another does:\n%s", page)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(page)); err != nil {
		t.Errorf("the page can't be read: %v", err)
	}
}

func TestThePageOfAPlainProgram(t *testing.T) {
	page := read(t, metrics.Plain("1.2.3"))
	if !strings.Contains(page, `bulkhead_build_info{version="1.2.3"} 1`) || strings.Contains(page, "bulkhead_log") {
		t.Errorf("got\n%s", page)
	}
}

// TestNamesFollowTheHabits of Prometheus.
func TestNamesFollowTheHabits(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(read(t, metrics.New("1.2.3")))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "bulkhead_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
