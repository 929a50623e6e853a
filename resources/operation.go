package resources

import "time"

// Operation is a durable request on a resource. Its phase says how it stands;
// its steps are its journal.
type Operation struct {
	Meta
	Action string `json:"action" doc:"What is done to the resource."`
	Target Ref    `json:"target" doc:"Resource it is done to."`
	// TargetName is the resource's name when the operation was accepted.
	TargetName string `json:"targetName,omitempty" doc:"Name of the resource when this was accepted."`
	// Arguments of the action.
	Arguments Arguments `json:"arguments,omitzero" doc:"What was asked for."`
	// ParentID and ParentStep tell which step of which operation asked for it.
	ParentID   OperationID `json:"parentId,omitempty" doc:"Operation that asked for this one."`
	ParentStep string      `json:"parentStep,omitempty" doc:"Step of the parent that asked for this one."`
	Steps      []Step      `json:"steps,omitempty" doc:"Journal, step by step."`
	Percent    int         `json:"percent" doc:"Progress, 0 to 100." minimum:"0" maximum:"100"`
	Message    string      `json:"message,omitempty" doc:"What is being done, in words."`
	Principal  string      `json:"principal,omitempty" doc:"Who asked."`
	RequestID  string      `json:"requestId,omitempty" doc:"Request it came with."`
	StartedAt  time.Time   `json:"startedAt,omitzero" doc:"When it began."`
	EndedAt    time.Time   `json:"endedAt,omitzero" doc:"When it ended."`
	Deadline   time.Time   `json:"deadline,omitzero" doc:"When it is given up."`
	Error      *Error      `json:"error,omitempty" doc:"Why it failed."`
	// FailedStep is the step that made it fail.
	FailedStep string `json:"failedStep,omitempty" doc:"Step that made it fail."`
	// Cancel is set once somebody asked for it to stop.
	Cancel bool `json:"cancel,omitempty" doc:"Whether it was asked to stop."`
	// Resolution is an operator's word on an operation that needs one: retry,
	// unwind or abandon. Cleared when it was taken up.
	Resolution string `json:"resolution,omitempty" doc:"An operator's decision that was not yet taken up."`
	// Epoch of the shard whose owner wrote the journal last.
	Epoch uint64 `json:"epoch,omitempty" doc:"Epoch of the owner that wrote last."`
	// Before is the phase of the resource before this operation began.
	Before Phase `json:"before,omitempty" doc:"Phase of the resource before this began."`
	// Urgent lets it overtake what waits, and what waits for another attempt. Of a resource one can be.
	Urgent bool `json:"urgent,omitempty" doc:"Whether it goes before what else waits on the resource, or waits for another attempt."`
	// Sequence orders the operations of one resource.
	Sequence uint64 `json:"sequence,omitempty" doc:"Place in the order of acceptance."`
}

// Arguments are the inputs of all actions; each action reads its own.
type Arguments struct {
	VolumeID   VolumeID    `json:"volumeId,omitempty" doc:"Volume."`
	NicID      NicID       `json:"nicId,omitempty" doc:"Nic."`
	SnapshotID SnapshotID  `json:"snapshotId,omitempty" doc:"Snapshot."`
	MachineID  MachineID   `json:"machineId,omitempty" doc:"Machine."`
	HostID     HostID      `json:"hostId,omitempty" doc:"Host."`
	Nic        *MachineNic `json:"nic,omitempty" doc:"Nic asked for."`
	SizeBytes  uint64      `json:"sizeBytes,omitempty" doc:"Size in bytes."`
	Name       string      `json:"name,omitempty" doc:"Name."`
	// Spec has the fields of the spec that an update changes; null takes one away.
	Spec map[string]any `json:"spec,omitempty" doc:"Fields of the spec to change; null takes one away."`
	// GraceSeconds is how long a guest has to shut down by itself.
	GraceSeconds uint32 `json:"graceSeconds,omitempty" doc:"How long a guest has to shut down by itself, in seconds."`
	// AllowRestart lets machines be stopped and started elsewhere that can't be moved while they run.
	AllowRestart bool `json:"allowRestart,omitempty" doc:"Whether machines that can't be moved while they run may be restarted elsewhere."`
	// AtOnce bounds how many machines are moved at the same time.
	AtOnce uint32 `json:"atOnce,omitempty" doc:"How many machines are moved at the same time."`
	// Statement is what somebody attests; it is written to the audit log.
	Statement string `json:"statement,omitempty" doc:"What is attested, in words."`
	Force     bool   `json:"force,omitempty" doc:"Whether to cut the power in the end."`
	// Forget has a deletion ask drivers of storage once: what they do not manage is left behind.
	Forget bool `json:"forget,omitempty" doc:"Whether to leave behind what can't be removed from the storage."`
	// DriverID is the version that is to act for a resource.
	DriverID DriverID `json:"driverId,omitempty" doc:"Version of its driver that is to act."`
	// Properties are settings of the driver for this operation alone: see OperationScope.
	Properties map[string]any `json:"properties,omitempty" doc:"Settings of the driver for this operation alone."`
	// Upload is the spooled file a template is made of.
	Upload string `json:"upload,omitempty" doc:"Spooled upload."`
}

// Asked is the action as it was asked for, for people: an administrator who has
// something forgotten does not only delete it.
func (o *Operation) Asked() string {
	if o.Arguments.Forget {
		return "forget (" + o.Action + ")"
	}
	return o.Action
}

// Step is one line of an operation's journal.
type Step struct {
	Name  string    `json:"name" doc:"Name of the step."`
	State StepState `json:"state" doc:"How it stands." enum:"waiting,running,done,failed,undoing,undone,skipped"`
	// Attempts counts the calls made for it.
	Attempts  int       `json:"attempts,omitempty" doc:"How often it was tried."`
	Message   string    `json:"message,omitempty" doc:"Last news, in words."`
	StartedAt time.Time `json:"startedAt,omitzero" doc:"When it began."`
	EndedAt   time.Time `json:"endedAt,omitzero" doc:"When it ended."`
	Error     *Error    `json:"error,omitempty" doc:"Why it failed."`
}

// StepState is how a step stands.
type StepState string

// The states of a step.
const (
	StepWaiting StepState = "waiting"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepUndoing StepState = "undoing"
	StepUndone  StepState = "undone"
	StepSkipped StepState = "skipped"
)

// Ended reports whether nothing will happen to the operation any more.
func (o *Operation) Ended() bool {
	return o.Phase == PhaseSucceeded || o.Phase == PhaseFailed || o.Phase == PhaseCancelled
}

// Passed reports whether a step is done.
func (o *Operation) Passed(step string) bool {
	for _, s := range o.Steps {
		if s.Name == step {
			return s.State == StepDone
		}
	}
	return false
}

// Place is where the operation is in the queue of its resource.
func (o *Operation) Place() uint64 {
	if o.Urgent {
		return 0
	}
	return o.Sequence
}

// Token identifies one step of the operation to a driver.
func (o *Operation) Token(step string) string { return o.ID + "/" + step }

// Validate implements Resource.
func (o *Operation) Validate(p *Problems) {
	p.Required("action", o.Action)
	p.In("target").Required("id", o.Target.ID)
}

// References implements Resource. An operation outlives what it is about.
func (o *Operation) References() []Ref { return nil }

// Facets implements Resource.
func (o *Operation) Facets() map[string]string {
	m := map[string]string{"target": o.Target.ID, "action": o.Action, "target-kind": string(o.Target.Kind)}
	facet(m, "parent", string(o.ParentID))
	return m
}

func operationDefinition() Definition {
	return Definition{
		Kind: KindOperation, Prefix: "op", Plural: "operations",
		New: func() Resource { return &Operation{Meta: Meta{Kind: KindOperation}} },
		Phases: Table{
			PhaseQueued:        {PhaseRunning, PhaseSucceeded, PhaseFailed, PhaseCancelled, PhaseNeedsOperator},
			PhaseRunning:       {PhaseUnwinding, PhaseSucceeded, PhaseFailed, PhaseCancelled, PhaseNeedsOperator},
			PhaseUnwinding:     {PhaseFailed, PhaseCancelled, PhaseNeedsOperator},
			PhaseNeedsOperator: {PhaseQueued, PhaseRunning, PhaseUnwinding, PhaseFailed},
			PhaseSucceeded:     {},
			PhaseFailed:        {},
			PhaseCancelled:     {},
		},
	}
}
