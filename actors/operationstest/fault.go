package operationstest

import (
	"context"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Form is what goes wrong at a step.
type Form string

// The forms.
const (
	None       Form = "none"
	Twice      Form = "twice"       // done twice
	FailBefore Form = "fail-before" // fails for good, without effect
	FailAfter  Form = "fail-after"  // fails for good, with its effect
	Hiccup     Form = "hiccup"      // fails once, will work later
	Unheard    Form = "unheard"     // takes effect, and nobody hears of it
	KillBefore Form = "kill-before" // the node dies before the step took effect
	KillAfter  Form = "kill-after"  // the node dies after it took effect
	Cancel     Form = "cancel"      // somebody asks for the operation to stop
	UndoTwice  Form = "undo-twice"  // fails for good with its effect; all undos run twice
	UndoHiccup Form = "undo-hiccup" // as before, and its undo fails once
	UndoKill   Form = "undo-kill"   // as before, and the node dies after its undo took effect
	Panic      Form = "panic"       // the step's code is broken
)

// Forms returns all but None.
func Forms() []Form {
	return []Form{
		Twice, FailBefore, FailAfter, Hiccup, Unheard, KillBefore, KillAfter, Cancel, UndoTwice, UndoHiccup, UndoKill, Panic,
	}
}

// Fails reports whether the operation must fail because of the form.
func (f Form) Fails() bool {
	switch f {
	case FailBefore, FailAfter, UndoTwice, UndoHiccup, UndoKill, Panic:
		return true
	case None, Twice, Hiccup, Unheard, KillBefore, KillAfter, Cancel:
	}
	return false
}

// injected is the error of a step that is made to fail for good.
func injected() error {
	return &resources.Error{Class: resources.ClassInvalid, Code: "injected", Message: "injected by the operation kit"}
}

// Fault is put into one step of one action.
type Fault struct {
	Kind   resources.Kind
	Action string
	Step   string
	Form   Form
	// Mutate, if set, breaks the table before the fault is put into it.
	Mutate func(operations.Table)

	// Killed receives when the node is to die; it dies when the zone is killed.
	Killed chan struct{}
	// Reached receives when the step to cancel has begun.
	Reached chan struct{}

	mu     sync.Mutex
	hit    int
	undone int
	armed  bool
	// struck is the operation the fault is for: the first one that met it.
	struck string
}

// NewFault makes a fault that is not armed: until it is, steps are as they are.
func NewFault(kind resources.Kind, action, step string, form Form) *Fault {
	return &Fault{
		Kind: kind, Action: action, Step: step, Form: form,
		Killed: make(chan struct{}, 1), Reached: make(chan struct{}, 1),
	}
}

// Arm lets the fault happen from here on.
func (f *Fault) Arm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = true
}

// Hit tells how often the step was begun since the fault was armed.
func (f *Fault) Hit() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

func (f *Fault) next(counter *int, op string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed || f.struck != "" && f.struck != op {
		return 0
	}
	f.struck = op
	*counter++
	return *counter
}

// Table is the real table with the fault in it.
func (f *Fault) Table() operations.Table {
	table := operations.NewTable()
	if f.Mutate != nil {
		f.Mutate(table)
	}
	d, ok := table[f.Kind][f.Action]
	if !ok {
		return table
	}
	list := d.Steps
	d.Steps = func(op *resources.Operation, r resources.Resource) []operations.Step {
		var out []operations.Step
		for _, s := range list(op, r) {
			out = append(out, f.wrap(s))
		}
		return out
	}
	table[f.Kind][f.Action] = d
	return table
}

type act = func(ctx context.Context, c *operations.Context) error

func (f *Fault) wrap(s operations.Step) operations.Step {
	if f.Form == UndoTwice && s.Undo != nil {
		s.Undo = twice(s.Undo)
	}
	if s.Name != f.Step {
		return s
	}
	s.Do = f.doing(s.Do)
	if s.Undo != nil {
		s.Undo = f.undoing(s.Undo)
	}
	return s
}

// twice does it twice in one attempt, the second time from the state that the
// first one leaves in the world.
func twice(do act) act {
	return func(ctx context.Context, c *operations.Context) error {
		if err := do(ctx, c); err != nil {
			return err
		}
		c.Outcome = operations.Outcome{}
		c.Repeat = true
		return do(ctx, c)
	}
}

func (f *Fault) doing(do act) act {
	return func(ctx context.Context, c *operations.Context) error {
		n := f.next(&f.hit, c.Operation.ID)
		if n == 0 {
			return do(ctx, c)
		}
		return f.happen(ctx, c, do, n)
	}
}

func (f *Fault) happen(ctx context.Context, c *operations.Context, do act, n int) error {
	switch f.Form {
	case Twice:
		return twice(do)(ctx, c)
	case FailBefore:
		return injected()
	case FailAfter, UndoTwice, UndoHiccup, UndoKill:
		return f.after(ctx, c, do, injected())
	case Panic:
		panic("injected by the operation kit")
	default:
		if n > 1 {
			return do(ctx, c)
		}
		return f.happenOnce(ctx, c, do)
	}
}

// happenOnce is what the forms do that let a repetition pass.
func (f *Fault) happenOnce(ctx context.Context, c *operations.Context, do act) error {
	switch f.Form {
	case Hiccup:
		return &resources.Error{Class: resources.ClassUnavailable, Code: "injected", Message: "injected hiccup"}
	case Unheard:
		return f.after(ctx, c, do, &resources.Error{Class: resources.ClassUnknown, Code: "injected", Message: "injected"})
	case KillBefore:
		return f.die(ctx)
	case KillAfter:
		if err := do(ctx, c); err != nil {
			return err
		}
		return f.die(ctx)
	case Cancel:
		f.Reached <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	default:
		return do(ctx, c)
	}
}

// after does it and loses what came of it.
func (f *Fault) after(ctx context.Context, c *operations.Context, do act, fault error) error {
	if err := do(ctx, c); err != nil {
		return err
	}
	c.Outcome = operations.Outcome{}
	return fault
}

// die has the zone killed and never returns before that.
func (f *Fault) die(ctx context.Context) error {
	f.Killed <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func (f *Fault) undoing(undo act) act {
	return func(ctx context.Context, c *operations.Context) error {
		n := f.next(&f.undone, c.Operation.ID)
		switch {
		case f.Form == UndoHiccup && n == 1:
			return &resources.Error{Class: resources.ClassInternal, Code: "injected", Message: "injected"}
		case f.Form == UndoKill && n == 1:
			if err := undo(ctx, c); err != nil {
				return err
			}
			return f.die(ctx)
		}
		return undo(ctx, c)
	}
}
