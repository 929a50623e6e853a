package simworld

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
)

const controlName = "faults.json"

// controlFile is the file in a world's directory that says what goes wrong, read again when it changed.
type controlFile struct {
	mutex sync.Mutex
	path  string
	seen  fileStamp
	plan  *simfault.Plan
	err   error
}

// fileStamp tells one content of a file from another without reading it.
type fileStamp struct {
	size  int64
	mtime time.Time
	file  fs.FileInfo
}

func newControlFile(dir string) *controlFile {
	return &controlFile{path: filepath.Join(dir, controlName), plan: simfault.NewPlan(nil)}
}

// WriteFaults puts rules into the control file of the world in dir, in one step. Processes that have the world open
// obey them from their next call on. No rules: nothing goes wrong any more.
func WriteFaults(dir string, rules ...simfault.Rule) error {
	for _, rule := range rules {
		if err := rule.Check(); err != nil {
			return fmt.Errorf("writing fault rules: %w", err)
		}
	}
	content, err := simfault.FormatFile(rules)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, controlName)
	draft := path + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(draft, content, 0o660); err != nil {
		return fmt.Errorf("writing fault rules: %w", err)
	}
	if err := os.Rename(draft, path); err != nil {
		return errors.Join(fmt.Errorf("writing fault rules: %w", err), os.Remove(draft))
	}
	return nil
}

// current returns the plan in the file. A file that can't be read leaves the former plan in force, beside the error.
func (c *controlFile) current() (*simfault.Plan, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	info, err := os.Stat(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		if c.seen.file != nil {
			c.plan.Replace(nil)
			c.seen, c.err = fileStamp{}, nil
		}
		return c.plan, c.err
	}
	if err != nil {
		return c.plan, fmt.Errorf("looking at the fault rules: %w", err)
	}
	if c.seen.file != nil && info.Size() == c.seen.size && info.ModTime().Equal(c.seen.mtime) &&
		os.SameFile(info, c.seen.file) {
		return c.plan, c.err
	}
	c.seen = fileStamp{size: info.Size(), mtime: info.ModTime(), file: info}
	c.err = c.read()
	return c.plan, c.err
}

func (c *controlFile) read() error {
	content, err := os.ReadFile(c.path)
	if err != nil {
		return fmt.Errorf("reading the fault rules: %w", err)
	}
	rules, err := simfault.ParseFile(content)
	if err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	c.plan.Replace(rules)
	return nil
}

// Inject makes calls of this process go wrong as the rule says, until remove is called. Rules of equal text injected
// one after the other count their firings apart.
func (w *World) Inject(rule simfault.Rule) (remove func(), err error) {
	if err := rule.Check(); err != nil {
		return nil, fmt.Errorf("injecting a fault: %w", err)
	}
	if rule.Name == "" {
		w.mutex.Lock()
		w.injected++
		rule.Name = fmt.Sprintf("inject-%d-%d", os.Getpid(), w.injected)
		w.mutex.Unlock()
	}
	return w.orders.Add(rule), nil
}

// Faults returns the rules that fire now for a call, of those injected and those in the control file, and records
// that they did. An error of the control file comes beside the rules still in force.
func (w *World) Faults(s simfault.Subject, cause Cause) ([]simfault.Rule, error) {
	fired, err := w.orders.Take(s, w.ledger(cause))
	if err != nil || w.control == nil {
		return fired, err
	}
	plan, fileErr := w.control.current()
	more, err := plan.Take(s, w.ledger(cause))
	return append(fired, more...), errors.Join(fileErr, err)
}

// TakeFaults is Faults for a plan kept elsewhere, with firings counted in this world.
func (w *World) TakeFaults(plan *simfault.Plan, s simfault.Subject, cause Cause) ([]simfault.Rule, error) {
	return plan.Take(s, w.ledger(cause))
}

// FaultsError is what is wrong with the control file now.
func (w *World) FaultsError() error {
	if w.control == nil {
		return nil
	}
	_, err := w.control.current()
	return err
}

func (w *World) ledger(cause Cause) simfault.Ledger { return ledger{w, cause} }

// ledger counts firings in the journal, so that a crash on request happens as often as asked and not after each
// restart again.
type ledger struct {
	world *World
	cause Cause
}

// Fire implements simfault.Ledger.
func (l ledger) Fire(rule simfault.Rule, limit uint64, _ simfault.Subject) (bool, error) {
	w, text := l.world, rule.String()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	release, err := w.hold()
	if err != nil {
		return false, err
	}
	defer release()
	if limit > 0 && w.state.fired[text] >= limit {
		return false, nil
	}
	return true, w.record(&Effect{
		Time: time.Now(), What: EffectFault, Cause: l.cause, Why: text,
		Object: Object{Key: Key{Kind: l.cause.Resource.Kind, ID: l.cause.Resource.ID}},
	})
}
