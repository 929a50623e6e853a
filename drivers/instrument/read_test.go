package instrument_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/bulkhead-cloud/bulkhead/drivers/instrument"
)

const good = `# HELP array_requests_total Requests to the array.
# TYPE array_requests_total counter
array_requests_total{op="create",array="north"} 12
array_requests_total{op="delete",array="north"} 3 1395066363000
# HELP cache_bytes What is cached.
# TYPE cache_bytes gauge
cache_bytes -2.5e3
# HELP wait_seconds Time in the queue.
# TYPE wait_seconds histogram
wait_seconds_bucket{le="+Inf"} 3
wait_seconds_bucket{le="0.1"} 1
wait_seconds_bucket{le="1"} 2
wait_seconds_sum 7.5
wait_seconds_count 3
`

// shown is a reading of a text as the host shows it.
func shown(t testing.TB, r instrument.Reading) string {
	t.Helper()
	var page bytes.Buffer
	for _, f := range r.Under(instrument.Prefix("acme/fast-disk"),
		instrument.Label(instrument.LabelVersion, "1.2.0"), instrument.Label(instrument.LabelDriver, "acme/fast-disk"),
		instrument.Label(instrument.LabelInstance, "acme/fast-disk@1.2.0")) {
		if _, err := expfmt.MetricFamilyToText(&page, f); err != nil {
			t.Fatal(err)
		}
	}
	return page.String()
}

func TestGoodMetricsAreShown(t *testing.T) {
	r, err := instrument.Read([]byte(good), instrument.DefaultLimits())
	if err != nil || len(r.Refused) > 0 || r.Series != 8 {
		t.Fatalf("got %d series, refused %v, %v", r.Series, r.Refused, err)
	}
	page := shown(t, r)
	const prefix = "bulkhead_driver_acme_fast_disk_"
	const labels = `driver="acme/fast-disk",instance="acme/fast-disk@1.2.0",`
	for _, want := range []string{
		"# HELP bulkhead_driver_acme_fast_disk_array_requests_total Requests to the array.",
		prefix + `array_requests_total{array="north",` + labels + `op="create",version="1.2.0"} 12`,
		prefix + `array_requests_total{array="north",` + labels + `op="delete",version="1.2.0"} 3` + "\n",
		`bulkhead_driver_acme_fast_disk_cache_bytes{` + labels + `version="1.2.0"} -2500`,
		`bulkhead_driver_acme_fast_disk_wait_seconds_bucket{` + labels + `version="1.2.0",le="0.1"} 1`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
}

func TestWhatBreaksARuleIsLeftOut(t *testing.T) {
	repeated := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	long := strings.Repeat("x", 200)
	for name, c := range map[string]struct{ text, reason string }{
		"host's label":     {"# TYPE bad gauge\nbad{driver=\"other/one\"} 1\n", "the label driver is the host's"},
		"host's version":   {"# TYPE bad gauge\nbad{version=\"9\"} 1\n", "the label version is the host's"},
		"host's instance":  {"# TYPE bad gauge\nbad{a=\"b\",instance=\"9\"} 1\n", "the label instance is the host's"},
		"le":               {"# TYPE bad gauge\nbad{le=\"1\"} 1\n", "meaning of its own"},
		"hidden label":     {"# TYPE bad gauge\nbad{__address__=\"up\"} 1\n", "meaning of its own"},
		"capital letters":  {"# TYPE BAD gauge\nBAD 1\n", "small letters"},
		"colon":            {"# TYPE a:bad gauge\na:bad 1\n", "small letters"},
		"long name":        {"# TYPE b" + long + " gauge\nb" + long + " 1\n", "more than 100 bytes"},
		"long help":        {"# HELP bad " + strings.Repeat(long, 3) + "\n# TYPE bad gauge\nbad 1\n", "its help"},
		"broken help":      {"# HELP bad \xff\n# TYPE bad gauge\nbad 1\n", "its help"},
		"long value":       {"# TYPE bad gauge\nbad{a=\"" + long + "\"} 1\n", "the value of the label a"},
		"long label":       {"# TYPE bad gauge\nbad{a" + long + "=\"\"} 1\n", "the name of a label"},
		"many labels":      {"# TYPE bad gauge\nbad{" + repeated(9, "a%d=\"\",") + "} 1\n", "more than 8 labels"},
		"series twice":     {"# TYPE bad gauge\nbad{a=\"1\",b=\"2\"} 1\nbad{b=\"2\",a=\"1\"} 2\n", "have the same labels"},
		"many series":      {"# TYPE bad gauge\n" + repeated(1001, "bad{a=\"%d\"} 1\n"), "more than 1000 series"},
		"no type":          {"bad 1\n", "none of counter, gauge and histogram"},
		"summary":          {"# TYPE bad summary\nbad_sum 1\nbad_count 1\n", "none of counter, gauge and histogram"},
		"negative counter": {"# TYPE bad counter\nbad -1\n", "a counter is"},
		"NaN counter":      {"# TYPE bad counter\nbad NaN\n", "a counter is"},
		"endless counter":  {"# TYPE bad counter\nbad +Inf\n", "a counter is"},
		"NaN gauge":        {"# TYPE bad gauge\nbad NaN\n", "a gauge is"},
		"no +Inf":          {"# TYPE bad histogram\nbad_bucket{le=\"1\"} 1\nbad_sum 1\nbad_count 1\n", "le is +Inf"},
		"no sum":           {"# TYPE bad histogram\nbad_bucket{le=\"+Inf\"} 1\nbad_count 1\n", "a _count and a _sum"},
		"NaN sum":          {"# TYPE bad histogram\nbad_bucket{le=\"+Inf\"} 1\nbad_sum NaN\nbad_count 1\n", "finite"},
		"another count":    {"# TYPE bad histogram\nbad_bucket{le=\"+Inf\"} 1\nbad_sum 1\nbad_count 2\n", "as many as"},
		"fewer": {
			"# TYPE bad histogram\nbad_bucket{le=\"1\"} 3\nbad_bucket{le=\"+Inf\"} 2\nbad_sum 1\nbad_count 2\n", "has fewer",
		},
		"bucket twice": {
			"# TYPE bad histogram\nbad_bucket{le=\"1\"} 1\nbad_bucket{le=\"1.0\"} 1\nbad_bucket{le=\"+Inf\"} 1\n" +
				"bad_sum 1\nbad_count 1\n", "bucket",
		},
	} {
		t.Run(name, func(t *testing.T) {
			text := "# TYPE aaa_fine gauge\naaa_fine 1\n" + c.text
			r, err := instrument.Read([]byte(text), instrument.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Refused) != 1 || !strings.Contains(r.Refused[0].Reason, c.reason) {
				t.Errorf("refused %v, want %q", r.Refused, c.reason)
			}
			if len(r.Families) != 1 || r.Families[0].GetName() != "aaa_fine" {
				t.Errorf("what is right is not shown: %v", r.Families)
			}
		})
	}
}

func TestNoSeriesHasTheNameOfAnother(t *testing.T) {
	text := "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n# TYPE a_bucket gauge\na_bucket 4\n"
	r, err := instrument.Read([]byte(text), instrument.DefaultLimits())
	if err != nil {
		return // the parser refuses it altogether
	}
	names := map[string]bool{}
	for _, f := range r.Families {
		for _, name := range instrument.Names(f) {
			if names[name] {
				t.Errorf("two metrics have series %s", name)
			}
			names[name] = true
		}
	}
}

func TestTooMuchIsRefusedAltogether(t *testing.T) {
	limits := instrument.DefaultLimits()
	for name, text := range map[string]string{
		"bytes":    "# HELP a " + strings.Repeat("x", limits.Bytes) + "\n",
		"lines":    strings.Repeat("\n", limits.Lines+1),
		"no text":  "\x00\x01\x02\n",
		"cut":      "# TYPE a gauge\na 1",
		"no value": "# TYPE a gauge\na\n",
		"reserved": "# TYPE a gauge\na{__name__=\"up\"} 1\n",
		"negative": "# TYPE a histogram\na_bucket{le=\"1\"} -3\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 2\n",
		"type":     "# TYPE a gauge\n# TYPE a counter\na 1\n",
	} {
		if r, err := instrument.Read([]byte(text), limits); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		} else if len(err.Error()) > 200 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
	var many strings.Builder
	for n := range limits.Families + 5 {
		fmt.Fprintf(&many, "# TYPE m%d gauge\nm%d 1\n", n, n)
	}
	r, err := instrument.Read([]byte(many.String()), limits)
	if err != nil || len(r.Families) != limits.Families || len(r.Refused) != 5 {
		t.Errorf("%d families, %d refused, %v", len(r.Families), len(r.Refused), err)
	}
	if r, err := instrument.Read(nil, limits); err != nil || len(r.Families) > 0 {
		t.Errorf("nothing at all: %+v, %v", r, err)
	}
}

// FuzzRead holds whatever is read to what the host promises of it.
func FuzzRead(f *testing.F) {
	f.Add([]byte(good))
	for _, text := range []string{
		"a 1\n", "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
		"# TYPE a counter\na{b=\"\\\"\\n\"} 1e308\n",
		"# HELP a \\\\x\n# TYPE a gauge\na{driver=\"x\"} 1\na{} 2\n", "a{\"b.c\",d=\"e\"} 1\n",
		"# TYPE a summary\na{quantile=\"0.5\"} NaN\n",
		"# TYPE a histogram\na_bucket{le=\"NaN\"} 1\n", "# TYPE a_count counter\na_count 1\n# TYPE a histogram\na_sum 2\n",
	} {
		f.Add([]byte(text))
	}
	limits := instrument.DefaultLimits()
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := instrument.Read(text, limits)
		if err != nil {
			if len(r.Families) > 0 {
				t.Fatal("it fails and shows something")
			}
			return
		}
		page := shown(t, r)
		parser := expfmt.NewTextParser(model.LegacyValidation)
		found, err := parser.TextToMetricFamilies(strings.NewReader(page))
		if err != nil {
			t.Fatalf("what is shown can't be read: %v\n%s", err, page)
		}
		if len(found) != len(r.Families) || r.Series > limits.Series {
			t.Fatalf("%d of %d metrics are found again\n%s", len(found), len(r.Families), page)
		}
		for name, family := range found {
			if !strings.HasPrefix(name, "bulkhead_driver_acme_fast_disk_") {
				t.Errorf("a metric is named %s", name)
			}
			for _, m := range family.GetMetric() {
				hold(t, m)
			}
		}
	})
}

// hold looks for the host's labels.
func hold(t *testing.T, m *dto.Metric) {
	t.Helper()
	values := map[string]string{}
	for _, l := range m.GetLabel() {
		if _, twice := values[l.GetName()]; twice {
			t.Errorf("the label %s is there twice", l.GetName())
		}
		values[l.GetName()] = l.GetValue()
	}
	if values["driver"] != "acme/fast-disk" || values["version"] != "1.2.0" || values["instance"] == "" {
		t.Errorf("a series has the labels %v", values)
	}
}
