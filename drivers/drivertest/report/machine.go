package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// WriteJSON writes the report with the verdict for each sentence of the contract.
func (r Report) WriteJSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		Report
		Passed        int      `json:"passed"`
		Failed        int      `json:"failed"`
		NotApplicable int      `json:"notApplicable"`
		Contract      []Judged `json:"contract"`
	}{r, r.Count(Passed), r.Count(Failed), r.Count(NotApplicable), r.Sentences()})
	if err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// The parts of a JUnit report that all readers know.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
		Skipped *junitSkipped `xml:"skipped"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
)

// WriteJUnit writes the report as JUnit XML.
func (r Report) WriteJUnit(to io.Writer) error {
	suite := junitSuite{
		Name: r.Driver + " " + r.Version, Tests: len(r.Checks), Failures: r.Count(Failed), Skipped: r.Count(NotApplicable),
		Time: seconds(r.Seconds), Timestamp: r.Began.UTC().Format("2006-01-02T15:04:05"),
	}
	for _, c := range r.Checks {
		class, name, _ := strings.Cut(c.Name, ": ")
		one := junitCase{Class: class, Name: printable(name), Time: seconds(c.Seconds)}
		switch c.Verdict {
		case Failed:
			var text strings.Builder
			c.explain(&text)
			one.Failure = &junitFailure{Message: printable(strings.Join(c.Log, "; ")), Text: printable(text.String())}
		case NotApplicable:
			one.Skipped = &junitSkipped{Message: c.Why}
		case Passed:
		}
		suite.Cases = append(suite.Cases, one)
	}
	if _, err := io.WriteString(to, xml.Header); err != nil {
		return fmt.Errorf("writing the report as JUnit XML: %w", err)
	}
	encoder := xml.NewEncoder(to)
	encoder.Indent("", "  ")
	if err := encoder.Encode(junitSuites{Suites: []junitSuite{suite}}); err != nil {
		return fmt.Errorf("writing the report as JUnit XML: %w", err)
	}
	return nil
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }

// printable takes out what XML can't hold, which a driver may well answer.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
