package journal

import (
	"fmt"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Begin takes an operation up: its steps are known from here on.
func Begin(op *resources.Operation, steps []string, before resources.Phase, now time.Time) {
	op.Phase, op.Before, op.StartedAt = resources.PhaseRunning, before, now
	op.Steps = make([]resources.Step, len(steps))
	for i, name := range steps {
		op.Steps[i] = resources.Step{Name: name, State: resources.StepWaiting}
	}
}

// Next returns the step to do, while running, or to undo, while unwinding; false
// when none is left. Undoing begins with the step that failed: it may have had
// an effect.
func Next(op *resources.Operation) (int, bool) {
	if op.Phase == resources.PhaseUnwinding {
		for i, s := range slices.Backward(op.Steps) {
			switch s.State {
			case resources.StepDone, resources.StepFailed, resources.StepRunning, resources.StepUndoing:
				return i, true
			case resources.StepWaiting, resources.StepUndone, resources.StepSkipped:
			}
		}
		return 0, false
	}
	for i, s := range op.Steps {
		if s.State == resources.StepWaiting || s.State == resources.StepRunning {
			return i, true
		}
	}
	return 0, false
}

// Start notes the intent to do or undo a step. It is written down before the
// step is begun.
func Start(op *resources.Operation, i int, now time.Time) {
	s := &op.Steps[i]
	state := resources.StepRunning
	if op.Phase == resources.PhaseUnwinding {
		state = resources.StepUndoing
	}
	if s.State != state {
		s.State, s.Attempts, s.StartedAt = state, 0, now
	}
	s.Attempts++
	s.EndedAt = time.Time{}
	op.Message = s.Name
	op.Percent = percent(op)
}

// Finish notes that a step is done, or undone.
func Finish(op *resources.Operation, i int, now time.Time) {
	s := &op.Steps[i]
	if op.Phase == resources.PhaseUnwinding {
		s.State = resources.StepUndone
	} else {
		s.State, s.Error = resources.StepDone, nil
	}
	s.EndedAt, s.Message = now, ""
	op.Percent = percent(op)
}

// Stumble notes that an attempt failed and another will follow.
func Stumble(op *resources.Operation, i int, why *resources.Error) {
	op.Steps[i].Error, op.Steps[i].Message = why, why.Message
	op.Message = op.Steps[i].Name + ": " + why.Message
}

// Unwind gives an operation up because of an error: what was done is undone from
// here on.
func Unwind(op *resources.Operation, i int, why *resources.Error, now time.Time) {
	if i >= 0 && i < len(op.Steps) {
		op.Steps[i].State, op.Steps[i].Error, op.Steps[i].EndedAt = resources.StepFailed, why, now
		op.FailedStep = op.Steps[i].Name
	}
	op.Phase, op.Error = resources.PhaseUnwinding, why
	op.Message = "undoing: " + why.Message
}

// Stick hands an operation to an operator: undoing a step failed for good.
func Stick(op *resources.Operation, i int, why *resources.Error) {
	Stumble(op, i, why)
	op.Phase = resources.PhaseNeedsOperator
	op.Message = "step " + op.Steps[i].Name + " can't be undone: " + why.Message +
		"; retry it once the cause is mended, or abandon it and clean up by hand"
}

// Park hands an operation to an operator because the code that carries it out
// crashed again and again.
func Park(op *resources.Operation, crashes int, cause string) {
	op.Phase, op.Resolution = resources.PhaseNeedsOperator, ""
	op.Message = fmt.Sprintf("carrying it out crashed %d times in a row: %s; see the server's log, then retry, unwind or "+
		"abandon it", crashes, cause)
}

// Succeed ends an operation well.
func Succeed(op *resources.Operation) {
	op.Phase, op.Percent, op.Message, op.Error = resources.PhaseSucceeded, 100, "", nil
}

// Fail ends an operation that was undone.
func Fail(op *resources.Operation) {
	op.Phase, op.Message = resources.PhaseFailed, ""
	if op.Cancel && op.Error != nil && op.Error.Class == resources.ClassCancelled {
		op.Phase = resources.PhaseCancelled
	}
}

// Take carries out an operator's decision on an operation that needed one.
func Take(op *resources.Operation, deadline, now time.Time) {
	switch resources.Resolution(op.Resolution) {
	case resources.ResolutionRetry:
		op.Phase = resources.PhaseRunning
		switch {
		case op.StartedAt.IsZero():
			op.Phase = resources.PhaseQueued
		case unwinding(op):
			op.Phase = resources.PhaseUnwinding
		}
		op.Deadline = deadline
	case resources.ResolutionUnwind:
		op.Phase = resources.PhaseUnwinding
		op.Deadline = deadline
	case resources.ResolutionAbandon:
		op.Phase, op.EndedAt = resources.PhaseFailed, now
		op.Message = abandoned(op)
	case resources.ResolutionCancel:
	}
	for i := range op.Steps {
		op.Steps[i].Attempts = min(op.Steps[i].Attempts, 1)
	}
	op.Resolution = ""
}

func unwinding(op *resources.Operation) bool {
	for _, s := range op.Steps {
		if s.State == resources.StepUndoing || s.State == resources.StepFailed || s.State == resources.StepUndone {
			return true
		}
	}
	return false
}

func abandoned(op *resources.Operation) string {
	left := ""
	for _, s := range op.Steps {
		if s.State == resources.StepWaiting || s.State == resources.StepUndone || s.State == resources.StepSkipped {
			continue
		}
		if left != "" {
			left += ", "
		}
		left += s.Name
	}
	return "abandoned by an operator; not undone: " + left
}

func percent(op *resources.Operation) int {
	if len(op.Steps) == 0 {
		return 0
	}
	done := 0
	for _, s := range op.Steps {
		if s.State == resources.StepDone || s.State == resources.StepSkipped {
			done++
		}
	}
	return done * 100 / len(op.Steps)
}
