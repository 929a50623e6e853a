package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
)

// registers are resources whose description is written and read by many, each value
// once, so that it can be told afterwards whether there was one order of it all.
type registers struct {
	ids   []string
	began time.Time
	pulse *pulse

	mu      sync.Mutex
	history []porcupine.Operation
}

// access is one reading or writing.
type access struct {
	id    string
	write string // empty = a reading
}

// forever is when something ends that nobody knows the end of.
const forever = int64(1) << 62

const (
	registerCount = 5
	// Each node has writers and a reader; this is how long they rest.
	writersPerNode = 2
	writerRest     = 100 * time.Millisecond
	readerRest     = 10 * time.Millisecond
	// accessPatience is how long one waits for an answer.
	accessPatience = 6 * time.Second
)

// make creates the registers.
func (r *registers) make(ctx context.Context, c *client.Client) error {
	r.began = time.Now()
	for i := range registerCount {
		body := map[string]any{"name": fmt.Sprintf("register-%d", i), "spec": map[string]any{"description": "v0"}}
		answer, err := c.Insist(ctx, http.MethodPost, "/v1/clusters", body)
		if err != nil {
			return err
		}
		if answer.Status != http.StatusAccepted {
			return fmt.Errorf("creating a register: %d %v", answer.Status, answer.Body)
		}
		r.ids = append(r.ids, fmt.Sprint(answer.Part("target")["id"]))
	}
	return nil
}

func (r *registers) note(caller int, call int64, in access, out string, end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, porcupine.Operation{ClientId: caller, Input: in, Call: call, Output: out, Return: end})
}

func (r *registers) now() int64 { return time.Since(r.began).Nanoseconds() }

// write writes by one node until ctx ends, and by the next whenever that one fails.
func (r *registers) write(ctx context.Context, number int, clients []*client.Client, random *rand.Rand) {
	at := number % len(clients)
	for n := 1; ctx.Err() == nil; n++ {
		in := access{id: r.ids[random.IntN(len(r.ids))], write: fmt.Sprintf("w%d-%d", number, n)}
		call := r.now()
		answer, err := doPatiently(ctx, clients[at], http.MethodPatch, in.id, in.write)
		switch {
		case err == nil && answer.Status == http.StatusAccepted:
			r.note(number, call, in, "", r.now())
			r.pulse.beat()
		case err == nil && answer.Status < http.StatusInternalServerError:
			// It was refused and did not happen.
		default:
			// Also when there was no connection: a request with a key is sent again by net/http
			// when the first connection broke.
			r.note(number, call, in, "", forever)
			at = (at + 1) % len(clients)
		}
		rest(ctx, time.Duration(random.Int64N(int64(writerRest))))
	}
}

// read reads from one node until ctx ends, whatever becomes of that.
func (r *registers) read(ctx context.Context, number int, c *client.Client, random *rand.Rand) {
	for ctx.Err() == nil {
		in := access{id: r.ids[random.IntN(len(r.ids))]}
		call := r.now()
		answer, err := doPatiently(ctx, c, http.MethodGet, in.id, "")
		if err == nil && answer.Status == http.StatusOK {
			value, _ := answer.Part("spec")["description"].(string)
			r.note(number, call, in, value, r.now())
		}
		rest(ctx, time.Duration(random.Int64N(int64(2*readerRest))))
	}
}

func doPatiently(ctx context.Context, c *client.Client, method, id, value string) (client.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, accessPatience)
	defer cancel()
	if method == http.MethodGet {
		return c.Do(ctx, method, "/v1/clusters/"+id, "", nil)
	}
	body := map[string]any{"spec": map[string]any{"description": value}}
	return c.Do(ctx, method, "/v1/clusters/"+id, client.NewKey(), body)
}

// settled drops writes that nobody knows the end of and nobody saw: nothing is lost
// with them. Those that somebody saw had ended by then. Without this, each of them
// would double what is to be searched.
func (r *registers) settled() []porcupine.Operation {
	seen := map[access]int64{}
	for _, o := range r.history {
		in, _ := o.Input.(access)
		value, _ := o.Output.(string)
		if in.write != "" {
			continue
		}
		of := access{id: in.id, write: value}
		if first, known := seen[of]; !known || o.Return < first {
			seen[of] = o.Return
		}
	}
	var history []porcupine.Operation
	for _, o := range r.history {
		if o.Return == forever {
			in, _ := o.Input.(access)
			first, known := seen[in]
			if !known {
				continue
			}
			o.Return = first
		}
		history = append(history, o)
	}
	return history
}

// checkPatience bounds the search for an order.
const checkPatience = 2 * time.Minute

// registers looks that all readings and writings of each register have an order that
// agrees with what was seen and when.
func (c *checker) registers(r *registers) error {
	history := r.settled()
	c.report.Registers = len(history)
	byID := map[string][]porcupine.Operation{}
	for _, o := range history {
		in, _ := o.Input.(access)
		byID[in.id] = append(byID[in.id], o)
	}
	for id, own := range byID {
		switch result := porcupine.CheckOperationsTimeout(registerModel(), own, checkPatience); result {
		case porcupine.Illegal:
			c.find(&c.report.Nonlinearizable, "the readings and writings of cluster %s, %d of them, have no order", id, len(own))
			if err := keepHistory(filepath.Join(c.dir, "history-"+id), own); err != nil {
				return err
			}
		case porcupine.Unknown:
			return fmt.Errorf("looking for an order of %d readings and writings took too long", len(own))
		case porcupine.Ok:
		}
	}
	return nil
}

// keepHistory writes the readings and writings of a register to a file and, to be
// looked at in a browser, how far an order goes.
func keepHistory(path string, history []porcupine.Operation) error {
	var text strings.Builder
	for _, o := range history {
		in, _ := o.Input.(access)
		fmt.Fprintf(&text, "%d %d client %d wrote %q read %q\n", o.Call, o.Return, o.ClientId, in.write, o.Output)
	}
	if err := os.WriteFile(path+".txt", []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("keeping a history: %w", err)
	}
	_, info := porcupine.CheckOperationsVerbose(registerModel(), history, checkPatience)
	if err := porcupine.VisualizePath(registerModel(), info, path+".html"); err != nil {
		return fmt.Errorf("keeping a history: %w", err)
	}
	return nil
}

func registerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "v0" },
		Step: func(state, input, output any) (bool, any) {
			in, _ := input.(access)
			if in.write != "" {
				return true, in.write
			}
			return output == state, state
		},
		Equal: func(a, b any) bool { return a == b },
	}
}
