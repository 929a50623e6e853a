package resources

import "time"

// FiguresQuery asks how the instances of a driver do.
type FiguresQuery struct {
	// Limit is how many resources are told of, those called last; 0 = none.
	Limit int
	// Kind and ID ask for resources of that kind, or of that id.
	Kind Kind
	ID   string
}

// DriverFigures is how a driver does, on all members that it runs on.
type DriverFigures struct {
	Items      []InstanceFigures `json:"items" doc:"Its instances, by the nodes and agents they run on: that of the node which was asked first, then in the order of names."`
	Unanswered []Unanswered      `json:"unanswered,omitempty" doc:"Nodes and agents that could not be asked."`
	Bound      []BoundCount      `json:"bound,omitempty" doc:"What it acts for."`
}

// DriverLogs is what the processes of a driver printed last, on all members that it runs on.
type DriverLogs struct {
	Items      []InstanceLog `json:"items" doc:"Logs of its instances, by the nodes and agents they run on: that of the node which was asked first, then in the order of names."`
	Unanswered []Unanswered  `json:"unanswered,omitempty" doc:"Nodes and agents that could not be asked."`
}

// InstanceLog is what the processes of one instance printed last.
type InstanceLog struct {
	Node  string   `json:"node" doc:"Node or agent."`
	Lines []string `json:"lines" doc:"What its processes printed last, a line each, oldest first; none if they printed nothing. Longer ones than are kept begin in their middle."`
}

// LogsQuery asks for what the processes of a driver printed.
type LogsQuery struct {
	// Node to ask; "" = all of them.
	Node string
	// Lines is how many of each at most.
	Lines int
}

// Unanswered is a member that could not be asked.
type Unanswered struct {
	Node   string `json:"node" doc:"Node or agent."`
	Reason string `json:"reason" doc:"Why it could not be asked."`
}

// BoundCount is how many resources of a kind a driver acts for in one place.
type BoundCount struct {
	Kind  Kind   `json:"kind" doc:"Kind of resource."`
	Node  string `json:"node,omitempty" doc:"Node or agent whose instance acts for them; none if they name none themselves: it is that of what they stand on, or of the node which began the zone."`
	Count int    `json:"count" doc:"How many."`
	List  string `json:"list,omitempty" doc:"Where those of the product are listed; none for what stands on another resource: volumes are listed by pool, machines by host." example:"/v1/pools?driver=bulkhead/filestorage"`
}

// InstanceFigures is how one instance of a driver does. Calls are counted by the node or agent that the instance runs
// on, through all the processes of the instance, for as long as the node or agent runs.
type InstanceFigures struct {
	Instance
	MemoryBytes uint64             `json:"memoryBytes,omitempty" doc:"Memory that the kernel counts for its processes, if that is known."`
	CPUSeconds  float64            `json:"cpuSeconds,omitempty" doc:"Processor time of the process that runs and of what it started, if that is known."`
	Since       time.Time          `json:"since,omitzero" doc:"Since when calls are counted."`
	PerSecond   float64            `json:"perSecond" doc:"Calls that ended in each second of about the last minute."`
	InFlight    int                `json:"inFlight" doc:"Calls that are under way."`
	Waiting     int                `json:"waiting" doc:"Calls that wait for their turn: so many are under way as the driver takes."`
	Methods     []MethodFigures    `json:"methods,omitempty" doc:"The methods that were called."`
	LastErrors  []CallError        `json:"lastErrors,omitempty" doc:"The last failures of calls and of processes, oldest first, at most 40."`
	Called      int                `json:"called" doc:"Resources that it remembers calls for: those called last, at most 1024."`
	Metrics     *RegisteredMetrics `json:"metrics,omitempty" doc:"What the driver itself counts; none if it was not asked yet, or counts nothing."`
	Resources   []ResourceFigures  `json:"resources,omitempty" doc:"Resources it was called for, the last one first."`
}

// MethodFigures is how the calls of one method went.
type MethodFigures struct {
	Method      string            `json:"method" doc:"Service and method of the driver contract." example:"Storage.CreateVolume"`
	Calls       uint64            `json:"calls" doc:"Calls that ended."`
	Outcomes    map[string]uint64 `json:"outcomes" doc:"How many of them by what became of them: ok, canceled, or the class of their fault."`
	PerSecond   float64           `json:"perSecond" doc:"Calls that ended in each second of about the last minute."`
	InFlight    int               `json:"inFlight" doc:"Calls that are under way."`
	MeanSeconds float64           `json:"meanSeconds" doc:"Mean time of a call that had its turn."`
	P50Seconds  float64           `json:"p50Seconds" doc:"Half of the calls took at most this: of the last minute's, or of all if there were none. Told from a histogram whose bounds double."`
	P99Seconds  float64           `json:"p99Seconds" doc:"99 of 100 calls took at most this, likewise."`
}

// CallError is a call that failed, or a process that did.
type CallError struct {
	At time.Time `json:"at" doc:"When it ended."`
	// Method, Class, Code and Resource are empty when the process failed.
	Method   string `json:"method,omitempty" doc:"Service and method; none if the process itself failed."`
	Resource *Ref   `json:"resource,omitempty" doc:"Resource that the call was about."`
	Class    string `json:"class,omitempty" doc:"Class of the fault."`
	Code     string `json:"code,omitempty" doc:"Code of the fault."`
	Message  string `json:"message" doc:"What went wrong, in words."`
}

// RegisteredMetrics says what a driver itself counts, which is on the metrics page of its node or agent.
type RegisteredMetrics struct {
	At      time.Time `json:"at" doc:"When the driver was last asked."`
	Names   []string  `json:"names,omitempty" doc:"Names of its metrics, as they are on the page."`
	Series  int       `json:"series" doc:"How many series they have."`
	Refused []string  `json:"refused,omitempty" doc:"Metrics that are left out, and why."`
	Error   string    `json:"error,omitempty" doc:"Why the last answer could not be read."`
}

// ResourceFigures is how the calls for one resource went, since it is remembered.
type ResourceFigures struct {
	Node           string     `json:"node" doc:"Node or agent whose instance was called."`
	Resource       Ref        `json:"resource" doc:"The resource."`
	Calls          uint64     `json:"calls" doc:"Calls that ended."`
	Failed         uint64     `json:"failed" doc:"How many of them failed."`
	MeanSeconds    float64    `json:"meanSeconds" doc:"Mean time of a call."`
	LongestSeconds float64    `json:"longestSeconds" doc:"Time of the one that took longest."`
	LastAt         time.Time  `json:"lastAt" doc:"When the last one ended."`
	LastMethod     string     `json:"lastMethod" doc:"What it was."`
	LastOutcome    string     `json:"lastOutcome" doc:"What became of it."`
	LastError      *CallError `json:"lastError,omitempty" doc:"The last that failed."`
}
