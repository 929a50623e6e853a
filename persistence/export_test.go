package persistence

import "github.com/bulkhead-cloud/bulkhead/resources"

// EachCommand calls fn for each command, with its name and the level of a zone that may hold it.
func EachCommand(fn func(name string, level uint32, cmd Command)) {
	for _, k := range commands() {
		cmd := k.make()
		fn(cmd.commandName(), k.level, cmd)
	}
}

// EachRecord calls fn for each thing that the state keeps besides resources.
func EachRecord(fn func(name string, record any)) {
	for name, record := range map[string]any{
		"admitted": admitted{}, "audit": resources.Audit{}, "binding": Binding{}, "event": eventRecord{},
		"idempotency": idempotency{}, "invitation": Invitation{}, "owner": Owner{}, "program": Program{},
		"range": rangeRecord{}, "quantities": resources.Quantities{}, "claim": resources.Ref{},
	} {
		fn(name, record)
	}
}
