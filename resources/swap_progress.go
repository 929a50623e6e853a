package resources

// SwapProgress is how far a swap is, as the records have it at that moment.
type SwapProgress struct {
	Moved int `json:"moved" doc:"How many resources the new version acts for."`
	Left  int `json:"left" doc:"How many the version of before acts for."`
	// Of those that are left:
	NeedsOperator int `json:"needsOperator" doc:"How many of those that are left wait for an operator to decide on an operation. A swap hands them over ahead of it, but a machine that is between two hosts, for which it waits."`
	Suspended     int `json:"suspended" doc:"How many of those that are left are suspended: they stay as they are."`
	Busy          int `json:"busy" doc:"How many of those that are left are being worked on: they are moved when that has ended."`
	// Items are some of those that are left.
	Items []SwapMember `json:"items" doc:"Resources that are left: first those that wait for an operator, then suspended ones, those that are being worked on, and all others."`
}

// SwapMember is a resource that is left.
type SwapMember struct {
	Resource  Ref             `json:"resource" doc:"Resource that is left."`
	Name      string          `json:"name,omitempty" doc:"Its name."`
	State     SwapMemberState `json:"state" enum:"needs-operator,suspended,busy,idle" doc:"What keeps it, if anything does."`
	Operation OperationID     `json:"operation,omitempty" doc:"Operation that it is at, or that it waits for an operator with."`
	Action    string          `json:"action,omitempty" doc:"Action of that operation."`
}

// SwapMemberState is what keeps a resource from being moved.
type SwapMemberState string

// States of resources that are left, in the order in which they are listed.
const (
	MemberNeedsOperator SwapMemberState = "needs-operator"
	MemberSuspended     SwapMemberState = "suspended"
	MemberBusy          SwapMemberState = "busy"
	MemberIdle          SwapMemberState = "idle"
)
