package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
)

// sample is a report with one of each, and words that break careless formats.
func sample() report.Report {
	once := report.Sentence{Place: "base.proto, Call.token", Text: "Asked twice <once> & answers twice."}
	return report.Report{
		Driver: "acme/disk", Version: "1.2.3", Isolation: "isolation strong",
		Began: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Seconds: 12.5,
		Checks: []report.Check{
			{Name: "Storage: good", Verdict: report.Passed, Contract: once, Seconds: 0.5},
			{
				Name: "Storage: bad", Verdict: report.Failed, Contract: once, Seconds: 1,
				Log: []string{"it made two <volumes> & \x00 \xff said so"},
				Calls: []report.Exchange{
					{Method: "Storage.CreateVolume", Asked: `{"a":"<b>"}`, Answered: `{"c":1}`, At: 0.1, Took: 0.2},
					{Method: "Storage.DeleteVolume", Asked: `{}`, Error: "NotFound", At: 0.3},
				},
			},
			{
				Name: "Storage: elsewhere", Verdict: report.NotApplicable, Why: "the driver does not declare grow",
				Contract: report.Sentence{Place: "storage.proto, Storage.GrowVolume", Text: "Never smaller."},
			},
		},
	}
}

func TestSentencesGetTheWorstVerdictOfTheirChecks(t *testing.T) {
	judged := sample().Sentences()
	if len(judged) != 2 || judged[0].Verdict != report.Failed || len(judged[0].Checks) != 2 ||
		judged[1].Verdict != report.NotApplicable || strings.Join(judged[0].Broken, ",") != "Storage: bad" {
		t.Errorf("got %+v", judged)
	}
}

func TestOnlyWhatWasCheckedIsAllRight(t *testing.T) {
	r := sample()
	if r.OK() {
		t.Error("all right with a failure")
	}
	if r.Checks = r.Checks[2:]; r.OK() {
		t.Error("all right with nothing checked")
	}
	if r.Checks = sample().Checks[:1]; !r.OK() {
		t.Error("not all right without a failure")
	}
}

func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestEveryFormatSaysWhatFailedAndWhy(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"text": sample().WriteText, "html": sample().WriteHTML, "json": sample().WriteJSON, "junit": sample().WriteJUnit,
	} {
		text := html.UnescapeString(written(t, write))
		for _, word := range []string{"acme/disk", "it made two", "does not declare grow", "Call.token", "CreateVolume"} {
			if !strings.Contains(text, word) {
				t.Errorf("%s: nothing of %q in\n%s", name, word, text)
			}
		}
	}
}

func TestJUnitIsReadByMachines(t *testing.T) {
	var read struct {
		Suite struct {
			Tests, Failures, Skipped int `xml:",attr"`
			Cases                    []struct {
				Class string `xml:"classname,attr"`
				Name  string `xml:"name,attr"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	text := strings.NewReplacer("tests=", "Tests=", "failures=", "Failures=", "skipped=", "Skipped=").Replace(
		written(t, sample().WriteJUnit))
	if err := xml.Unmarshal([]byte(text), &read); err != nil {
		t.Fatal(err)
	}
	s := read.Suite
	if s.Tests != 3 || s.Failures != 1 || s.Skipped != 1 || len(s.Cases) != 3 || s.Cases[1].Class != "Storage" {
		t.Errorf("got %+v", s)
	}
}

func TestJSONHasAVerdictPerSentence(t *testing.T) {
	var read struct {
		Passed, Failed, NotApplicable int
		Contract                      []report.Judged
		Checks                        []report.Check
	}
	if err := json.Unmarshal([]byte(written(t, sample().WriteJSON)), &read); err != nil {
		t.Fatal(err)
	}
	if read.Passed != 1 || read.Failed != 1 || read.NotApplicable != 1 ||
		len(read.Contract) != 2 || len(read.Checks) != 3 {
		t.Errorf("got %+v", read)
	}
}

func TestHTMLHoldsNothingOfTheDriversOwn(t *testing.T) {
	if text := written(t, sample().WriteHTML); strings.Contains(text, "<volumes>") || strings.Contains(text, "<once>") {
		t.Errorf("what a driver said is markup:\n%s", text)
	}
}
