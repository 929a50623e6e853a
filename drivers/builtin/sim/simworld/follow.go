package simworld

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Follower learns the truth about a world bit by bit, for those who ask again and again. Not for concurrent use.
type Follower struct {
	truth *Truth
	// more hands on the effects since the last time.
	more  func(each func(*Effect) error) error
	close func()
}

// Follow follows the world in dir. It needs no driver and disturbs none.
func Follow(dir string) (*Follower, error) {
	path := filepath.Join(dir, journalName)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("following a world: %w", err)
	}
	j := newJournal(file)
	j.scan.history = true
	return &Follower{
		truth: &Truth{state: newState()},
		close: func() { _ = j.close() }, // nothing was written
		more: func(each func(*Effect) error) error {
			if grown, err := j.grown(); err != nil || !grown {
				return err
			}
			if err := j.lock(syscall.LOCK_SH); err != nil {
				return err
			}
			defer j.unlock()
			if err := j.catchUp(false, each); err != nil {
				return fmt.Errorf("following %s: %w", path, err)
			}
			return nil
		},
	}, nil
}

// Follow follows the world.
func (w *World) Follow() (*Follower, error) {
	if w.journal != nil {
		return Follow(w.dir)
	}
	known := 0
	return &Follower{
		truth: &Truth{state: newState()},
		close: func() {},
		more: func(each func(*Effect) error) error {
			w.mutex.Lock()
			fresh := w.history[known:len(w.history):len(w.history)]
			known = len(w.history)
			w.mutex.Unlock()
			for i := range fresh {
				if err := each(&fresh[i]); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

// Truth is what is true now. The next call changes it.
func (f *Follower) Truth() (*Truth, error) {
	err := f.more(func(e *Effect) error {
		f.truth.effects = append(f.truth.effects, *e)
		return f.truth.state.apply(e)
	})
	if err != nil {
		return nil, fmt.Errorf("learning the truth: %w", err)
	}
	return f.truth, nil
}

// Close lets go of the world.
func (f *Follower) Close() { f.close() }
