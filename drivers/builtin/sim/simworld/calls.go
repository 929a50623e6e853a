package simworld

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// callsName, beside the journal, has a line for each beginning and each end of a call that was to be noted.
const callsName = "calls.jsonl"

// Call is a call that a driver worked on.
type Call struct {
	Cause
	// Reads says that it only looked.
	Reads bool
	Begin time.Time
	// End is zero if the driver's process did not live to see it.
	End time.Time
	// Process is that process, by a name that no other ever had.
	Process string
}

// callLine is one line of the file.
type callLine struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Call     string    `json:"call,omitempty"` // empty: the end of the one with this id
	Token    string    `json:"token,omitempty"`
	Epoch    uint64    `json:"epoch,omitempty"`
	Kind     string    `json:"kind,omitempty"`
	Resource string    `json:"resource,omitempty"`
	By       string    `json:"by,omitempty"`
	Process  string    `json:"process,omitempty"`
	Reads    bool      `json:"reads,omitempty"`
}

// Note writes down that a call begins, also one that changes nothing, and returns what is to be called when it ends.
// Worlds in memory keep no such notes.
func (w *World) Note(cause Cause, reads bool) (ended func(), err error) {
	if w.InMemory() {
		return func() {}, nil
	}
	id := rand.Text()
	err = w.noteLine(callLine{
		ID: id, At: time.Now(), Call: cause.Call, Token: cause.Token, Epoch: cause.Epoch, By: cause.By, Process: w.process,
		Kind: cause.Resource.Kind, Resource: cause.Resource.ID, Reads: reads,
	})
	// An end that can't be written is as if the process had died: the call then has none.
	return func() { _ = w.noteLine(callLine{ID: id, At: time.Now()}) }, err
}

func (w *World) noteLine(l callLine) error {
	line, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("noting a call: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(w.dir, callsName), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o660)
	if err != nil {
		return fmt.Errorf("noting a call: %w", err)
	}
	_, err = file.Write(append(line, '\n')) // at once: many processes append
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("noting a call: %w", err)
	}
	return nil
}

// LoadCalls reads the calls that were noted in the world in dir, in the order of their beginnings. A line that a
// dying process left without its end is passed over.
func LoadCalls(dir string) ([]Call, error) {
	data, err := os.ReadFile(filepath.Join(dir, callsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the calls: %w", err)
	}
	var calls []Call
	open := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		var l callLine
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			continue
		}
		if l.Call == "" {
			if i, known := open[l.ID]; known {
				calls[i].End = l.At
			}
			continue
		}
		open[l.ID] = len(calls)
		calls = append(calls, Call{
			Cause: Cause{
				Call: l.Call, Token: l.Token, Epoch: l.Epoch, By: l.By, Resource: Ref{Kind: l.Kind, ID: l.Resource},
			},
			Reads: l.Reads, Begin: l.At, Process: l.Process,
		})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the calls: %w", err)
	}
	return calls, nil
}
