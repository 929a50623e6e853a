package meter

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Outcome is what became of a call: one of the classes of faults, or one of those below.
type Outcome string

// Outcomes that are no faults.
const (
	// OK is a call that was answered.
	OK Outcome = "ok"
	// Canceled is one whose caller left before it was answered.
	Canceled Outcome = "canceled"
)

const (
	// methodsKept bounds the methods that are told apart; further ones count as Other.
	methodsKept = 128
	// outcomesKept bounds the outcomes of a method that are told apart; further ones count as Other.
	outcomesKept = 16
	// Resources is how many resources are remembered: those that were called last.
	Resources = 1024
	// failuresKept is how many failed calls are remembered.
	failuresKept = 20
	// longestName bounds kind and id of a resource that is told apart.
	longestName = 63
	// longestMessage bounds what is remembered of a failure's words, in bytes.
	longestMessage = 512
)

// Other stands for what is not told apart.
const Other = "other"

// Failure is a call that came to nothing.
type Failure struct {
	At     time.Time
	Method string
	// Kind and ID of the resource; "" = of none.
	Kind, ID string
	Outcome  Outcome
	Code     string
	Message  string
}

// Meter counts the calls of one instance. Safe for concurrent use.
type Meter struct {
	since   time.Time
	waiting atomic.Int64
	methods atomic.Pointer[map[string]*method] // replaced when there is another one
	adding  sync.Mutex

	mutex     sync.Mutex
	resources shelf
	failures  []Failure // oldest first
}

// New makes a meter that has counted nothing.
func New() *Meter {
	m := &Meter{since: time.Now(), resources: newShelf()}
	m.methods.Store(&map[string]*method{})
	return m
}

// method counts the calls of one method.
type method struct {
	name     string // without the package of the contract
	inFlight atomic.Int64

	mutex    sync.Mutex
	outcomes []count
	all      Histogram
	recent   minute
}

type count struct {
	outcome Outcome
	n       uint64
}

// Call is one call that is being counted. It belongs to one goroutine.
type Call struct {
	meter  *Meter
	method *method
	began  time.Time // zero = it waits for its turn
}

// Begin counts a call that waits for its turn, by the full name of its method.
func (m *Meter) Begin(fullName string) Call {
	m.waiting.Add(1)
	return Call{meter: m, method: m.method(fullName)}
}

// Sent says that the call has its turn. Its time is counted from here on.
func (c *Call) Sent() {
	c.meter.waiting.Add(-1)
	c.method.inFlight.Add(1)
	c.began = time.Now()
}

// End counts what became of the call. A call that never had its turn took no time. Of failure only Outcome, Code and
// Message count, and Kind and ID name the resource of any call.
func (c *Call) End(failure Failure) {
	now := time.Now()
	var took time.Duration
	sent := !c.began.IsZero()
	if sent {
		took = now.Sub(c.began)
		c.method.inFlight.Add(-1)
	} else {
		c.meter.waiting.Add(-1)
	}
	c.method.end(now, took, sent, failure.Outcome)
	failure.At, failure.Method = now, c.method.name
	c.meter.note(failure, took)
}

// method finds the counters of a method.
func (m *Meter) method(fullName string) *method {
	if found := (*m.methods.Load())[fullName]; found != nil {
		return found
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	known := *m.methods.Load()
	if len(known) >= methodsKept {
		fullName = Other
	}
	if found := known[fullName]; found != nil {
		return found
	}
	next := maps.Clone(known)
	next[fullName] = &method{name: shortName(fullName)}
	m.methods.Store(&next)
	return next[fullName]
}

// shortName of "/bulkhead.driver.v1.Storage/CreateVolume" is "Storage.CreateVolume".
func shortName(fullName string) string {
	service, name, found := strings.Cut(strings.TrimPrefix(fullName, "/"), "/")
	if !found {
		return strings.Clone(fullName)
	}
	return service[strings.LastIndexByte(service, '.')+1:] + "." + name
}

func (m *method) end(now time.Time, took time.Duration, sent bool, outcome Outcome) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.count(outcome)
	if sent {
		m.all.add(took)
		m.recent.add(now, took)
	}
}

func (m *method) count(outcome Outcome) {
	for i := range m.outcomes {
		if m.outcomes[i].outcome == outcome {
			m.outcomes[i].n++
			return
		}
	}
	if len(m.outcomes) >= outcomesKept && outcome != Other {
		m.count(Other)
		return
	}
	m.outcomes = append(m.outcomes, count{outcome, 1})
}

// note remembers which resource a call was about, and what went wrong.
func (m *Meter) note(f Failure, took time.Duration) {
	if f.Outcome != OK && f.Outcome != Canceled {
		f.Message = cut(f.Message)
	} else {
		f.Code, f.Message = "", ""
	}
	if len(f.Kind) > longestName || len(f.ID) > longestName {
		f.Kind, f.ID = "", ""
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if f.ID != "" {
		m.resources.note(f, took)
	}
	if f.Outcome == OK || f.Outcome == Canceled {
		return
	}
	if len(m.failures) == failuresKept {
		copy(m.failures, m.failures[1:])
		m.failures = m.failures[:failuresKept-1]
	}
	m.failures = append(m.failures, f)
}

// cut keeps what there is room for, of which nothing longer is held on to.
func cut(words string) string {
	if len(words) <= longestMessage {
		return words
	}
	return strings.ToValidUTF8(strings.Clone(words[:longestMessage]), "") + " ..."
}

// Figures are what was counted up to now.
type Figures struct {
	// Since is when counting began.
	Since time.Time
	// Waiting is how many calls wait for their turn.
	Waiting int
	// Methods that were called, in the order of their names.
	Methods []Method
	// Failures are the last ones, oldest first.
	Failures []Failure
	// Resources is how many are remembered.
	Resources int
}

// Method is what was counted of one method.
type Method struct {
	// Name is service and method: "Storage.CreateVolume".
	Name string
	// InFlight is how many calls are under way.
	InFlight int
	// Calls by what became of them.
	Calls map[Outcome]uint64
	// Took is how long those took that had their turn: all, and those that ended in about the last minute.
	Took, Recent Histogram
	// PerSecond is how many ended in each second of that minute.
	PerSecond float64
}

// Figures returns what was counted.
func (m *Meter) Figures() Figures {
	now := time.Now()
	f := Figures{Since: m.since, Waiting: int(m.waiting.Load())}
	for _, one := range *m.methods.Load() {
		f.Methods = append(f.Methods, one.figures(now, m.since))
	}
	slices.SortFunc(f.Methods, func(a, b Method) int { return strings.Compare(a.Name, b.Name) })
	m.mutex.Lock()
	defer m.mutex.Unlock()
	f.Failures, f.Resources = slices.Clone(m.failures), m.resources.order.Len()
	return f
}

func (m *method) figures(now, since time.Time) Method {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	f := Method{Name: m.name, InFlight: int(m.inFlight.Load()), Calls: map[Outcome]uint64{}, Took: m.all}
	for _, c := range m.outcomes {
		f.Calls[c.outcome] = c.n
	}
	var over time.Duration
	f.Recent, over = m.recent.sum(now, since)
	if over > 0 {
		f.PerSecond = float64(f.Recent.Count()) / max(over.Seconds(), 1)
	}
	return f
}
