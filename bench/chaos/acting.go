package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// deed is a call of a driver as the node that made it noted it.
type deed struct {
	Time     time.Time `json:"time"`
	Message  string    `json:"msg"`
	Resource string    `json:"resource"`
	Shard    uint64    `json:"shard"`
	Epoch    uint64    `json:"epoch"`
	Method   string    `json:"method"`
	Token    string    `json:"token"`
	// Decided is when the node looked whether it may, or before.
	Decided time.Time `json:"decided"`
	Driver  string    `json:"driver"`
	On      string    `json:"on"`
	Error   any       `json:"error"`
	node    string
}

// What nodes note of how they act.
const (
	noteCalled = "a driver is called"
	noteEnded  = "a driver was called"
	noteTaken  = "a shard was taken"
)

// taking is the beginning of a node's acting for a shard.
type taking struct {
	node  string
	epoch uint64
	at    time.Time
}

// acting is how the nodes acted, read from their logs bit by bit. Not for concurrent use.
type acting struct {
	logs  []nodeLog
	calls []deed
	taken map[uint64][]taking // by shard
	// last is the newest call of each resource that was answered.
	last map[string]deed
}

type nodeLog struct {
	node, path string
	read       int64
}

func newActing(homes []home) *acting {
	a := &acting{taken: map[uint64][]taking{}, last: map[string]deed{}}
	for _, h := range homes {
		a.logs = append(a.logs, nodeLog{node: h.name, path: filepath.Join(h.dir, server.LogName)})
	}
	return a
}

// follow reads what was noted since the last time.
func (a *acting) follow() error {
	for i := range a.logs {
		if err := a.logs[i].more(a.take); err != nil {
			return fmt.Errorf("reading how %s acted: %w", a.logs[i].node, err)
		}
	}
	return nil
}

// more hands on the lines that are new and whole.
func (l *nodeLog) more(take func(node string, line []byte) error) error {
	file, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, l.read, 1<<40))
	if err != nil {
		return err
	}
	for {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return nil
		}
		if err := take(l.node, text[:end]); err != nil {
			return err
		}
		text, l.read = text[end+1:], l.read+int64(end)+1
	}
}

func (a *acting) take(node string, line []byte) error {
	if !bytes.Contains(line, []byte(noteCalled)) && !bytes.Contains(line, []byte(noteEnded)) &&
		!bytes.Contains(line, []byte(noteTaken)) {
		return nil
	}
	one := deed{node: node}
	if err := json.Unmarshal(line, &one); err != nil {
		return err
	}
	switch one.Message {
	case noteCalled:
		a.calls = append(a.calls, one)
	case noteEnded:
		if one.Error == nil && one.Epoch >= a.last[one.Resource].Epoch {
			a.last[one.Resource] = one
		}
	case noteTaken:
		a.taken[one.Shard] = append(a.taken[one.Shard], taking{node: node, epoch: one.Epoch, at: one.Time})
	}
	return nil
}

// next is the first taking of a shard with a newer epoch.
func (a *acting) next(shard, epoch uint64) (first taking, found bool) {
	for _, t := range a.taken[shard] {
		if t.epoch > epoch && (!found || t.at.Before(first.at)) {
			first, found = t, true
		}
	}
	return first, found
}

// doubleActs looks for nodes that decided to call a driver for a resource after another
// one had begun to act for it, be it the same by its next epoch. At no instant may two.
func (c *checker) doubleActs(a *acting) error {
	if err := a.follow(); err != nil {
		return err
	}
	if len(a.calls) == 0 {
		return fmt.Errorf("no node noted a single call: it can't be told who acted when")
	}
	c.report.Acts = len(a.calls)
	for _, one := range a.calls {
		if t, found := a.next(one.Shard, one.Epoch); found && one.Decided.After(t.at) {
			c.find(&c.report.DoubleRun, "%s called %s of %s by epoch %d at %s, %s after %s had taken shard %d by epoch %d",
				one.node, one.Method, one.Resource, one.Epoch, one.Decided.Format(time.RFC3339Nano),
				one.Decided.Sub(t.at), t.node, one.Shard, t.epoch)
		}
	}
	return nil
}

// lateAtOnce is how many calls arrive late at a time.
const lateAtOnce = 8

// arriveLate has calls of owners of before arrive again, from their nodes, at drivers that
// heard of the newer ones. What comes of it shows in the notes of the simulators.
func (z *zone) arriveLate(ctx context.Context, chance uint64) error {
	if err := z.acting.follow(); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(chance, 2))
	calls := map[*server.Server][]server.Late{}
	for range 50 * lateAtOnce {
		if len(z.acting.calls) == 0 {
			break
		}
		old := z.acting.calls[random.IntN(len(z.acting.calls))]
		on, from := z.group.Find(old.On), z.group.Find(old.node)
		newer := z.acting.last[old.Resource]
		if on == nil || from == nil || on == from || newer.Epoch <= old.Epoch || len(calls[from]) >= lateAtOnce {
			continue
		}
		kind, id, _ := strings.Cut(old.Resource, "/")
		calls[from] = append(calls[from], server.Late{
			Node: on.Name, Address: on.Address, Agent: on.IsAgent(), Driver: old.Driver, Kind: kind, ID: id,
			Epoch: old.Epoch, Token: old.Token,
		})
	}
	for from, late := range calls {
		answers, err := from.ArriveLate(ctx, late)
		if err != nil {
			z.conductor.tell("calls of %s did not arrive late: %v", from.Name, err)
			continue
		}
		z.conductor.tell("calls of %s arrived late and were answered %q", from.Name, answers)
		z.lates += len(answers)
	}
	return nil
}
