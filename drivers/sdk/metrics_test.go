package sdk_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// gathered are metrics that tests script.
type gathered func() ([]*dto.MetricFamily, error)

func (g gathered) Gather() ([]*dto.MetricFamily, error) { return g() }

// told is what a driver with metrics answers.
func told(t *testing.T, metrics sdk.Metrics) (string, error) {
	t.Helper()
	driver := (&backend{}).driver()
	driver.Metrics = metrics
	s := serve(t, driver, nil)
	reply, err := s.base.Metrics(bounded(t), &driverpb.MetricsRequest{})
	return string(reply.GetText()), err
}

func TestADriverTellsWhatItCounts(t *testing.T) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total", Help: "Requests."}, []string{"op"})
	requests.WithLabelValues("create").Add(2)
	registry := prometheus.NewRegistry()
	registry.MustRegister(requests)
	text, err := told(t, registry)
	want := "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total{op=\"create\"} 2\n"
	if err != nil || text != want {
		t.Errorf("got %q, %v", text, err)
	}
	_, err = told(t, nil)
	wantFault(t, err, driverpb.Class_CLASS_UNSUPPORTED, "not-implemented")
	_, err = told(t, gathered(func() ([]*dto.MetricFamily, error) { return nil, errors.New("two of one name") }))
	fault := wantFault(t, err, driverpb.Class_CLASS_INTERNAL, "metrics")
	if !strings.Contains(fault.GetMessage(), "two of one name") {
		t.Errorf("got %v", fault)
	}
	_, err = told(t, gathered(func() ([]*dto.MetricFamily, error) { panic("a defect") }))
	wantFault(t, err, driverpb.Class_CLASS_INTERNAL, "panic")
}
