package report

import "time"

// Verdict is what a check came to.
type Verdict string

// Verdicts. What does not apply says why.
const (
	Passed        Verdict = "passed"
	Failed        Verdict = "failed"
	NotApplicable Verdict = "not-applicable"
)

// Report is what became of all checks of a driver.
type Report struct {
	// Driver is vendor/name, Version its semantic version.
	Driver  string `json:"driver"`
	Version string `json:"version"`
	// Before is the version that upgrades were tried from; empty when none was given.
	Before string `json:"before,omitempty"`
	// Isolation says how the driver was confined.
	Isolation string    `json:"isolation,omitempty"`
	Began     time.Time `json:"began"`
	Seconds   float64   `json:"seconds"`
	Checks    []Check   `json:"checks"`
}

// Check is one check and what it came to.
type Check struct {
	// Name is what a driver is held to, with the category before it.
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Why says why the check does not apply.
	Why string `json:"why,omitempty"`
	// Contract is the sentence behind it.
	Contract Sentence `json:"contract"`
	Seconds  float64  `json:"seconds"`
	// Log is what the check said.
	Log []string `json:"log,omitempty"`
	// Calls are the last ones of a check that failed, oldest first.
	Calls []Exchange `json:"calls,omitempty"`
}

// Failed tells whether the driver broke the sentence.
func (c Check) Failed() bool { return c.Verdict == Failed }

// Passed tells whether the check applied and found nothing wrong.
func (c Check) Passed() bool { return c.Verdict == Passed }

// Sentence is one of the contract's.
type Sentence struct {
	// Place is where it stands: a file, and the message, field or method.
	Place string `json:"place"`
	Text  string `json:"text"`
}

// Exchange is a call and its answer. Secrets are left out.
type Exchange struct {
	Method   string `json:"method"`
	Asked    string `json:"asked"`
	Answered string `json:"answered,omitempty"`
	Error    string `json:"error,omitempty"`
	// Seconds since the check began, and how long it took.
	At   float64 `json:"at"`
	Took float64 `json:"took"`
}

// Count counts the checks with a verdict.
func (r Report) Count(verdict Verdict) int {
	count := 0
	for _, c := range r.Checks {
		if c.Verdict == verdict {
			count++
		}
	}
	return count
}

// OK tells whether something was checked and nothing failed.
func (r Report) OK() bool { return r.Count(Failed) == 0 && r.Count(Passed) > 0 }

// Judged is a sentence of the contract with what its checks came to.
type Judged struct {
	Sentence
	Verdict Verdict `json:"verdict"`
	// Checks are their names.
	Checks []string `json:"checks"`
	// Broken are those that failed.
	Broken []string `json:"broken,omitempty"`
}

// Sentences gives a verdict for each sentence of the contract that was checked, in the order of the checks: failed if
// one of its checks failed, not applicable if none applied.
func (r Report) Sentences() []Judged {
	at := map[Sentence]int{}
	var all []Judged
	for _, c := range r.Checks {
		i, known := at[c.Contract]
		if !known {
			i = len(all)
			at[c.Contract] = i
			all = append(all, Judged{Sentence: c.Contract, Verdict: NotApplicable})
		}
		all[i].Checks = append(all[i].Checks, c.Name)
		switch {
		case c.Verdict == Failed:
			all[i].Verdict = Failed
			all[i].Broken = append(all[i].Broken, c.Name)
		case c.Verdict == Passed && all[i].Verdict == NotApplicable:
			all[i].Verdict = Passed
		}
	}
	return all
}
