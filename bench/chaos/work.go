package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
)

const gib = 1 << 30

// accepted is an operation the server promised to carry out.
type accepted struct {
	id, action, kind, target string
}

// ledger remembers what the server promised.
type ledger struct {
	mu       sync.Mutex
	accepted []accepted
	refused  int
	twice    []string
	mistakes []string // requests that could never be accepted: the chaos would be less than it says
	seen     map[string]bool
}

func (l *ledger) accept(a accepted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[a.id] {
		l.twice = append(l.twice, "two requests were answered with operation "+a.id)
	}
	l.seen[a.id] = true
	l.accepted = append(l.accepted, a)
}

// refuse notes a refusal. What is wrong with the form of a request is a mistake of this program.
func (l *ledger) refuse(request string, a client.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	code := a.Text("code")
	if slices.Contains([]string{"unexpected-body", "no-such-route", "wrong-media-type"}, code) ||
		a.Status == http.StatusUnsupportedMediaType || a.Status == http.StatusBadRequest {
		l.mistakes = append(l.mistakes, fmt.Sprintf("%s was answered %d %s", request, a.Status, code))
	}
}

// worker does random things to things of its own and to those of others.
type worker struct {
	client *client.Client
	random *rand.Rand
	ledger *ledger
	stock  *stock
	pulse  *pulse // nil if nobody asks for it
	// nodes are the names of those that things are on, if there are several.
	nodes []string
}

// at draws a node, as a suffix of the kinds of what is there on it; "" if there is but
// one.
func (w *worker) at() string {
	if len(w.nodes) == 0 {
		return ""
	}
	return "@" + w.nodes[w.random.IntN(len(w.nodes))]
}

// stock is what there is, by kind, as far as the workers know: entries may be gone.
type stock struct {
	mu  sync.Mutex
	ids map[string][]string
}

func (s *stock) add(kind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[kind] = append(s.ids[kind], id)
}

func (s *stock) pick(r *rand.Rand, kind string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.ids[kind]
	if len(list) == 0 {
		return ""
	}
	return list[r.IntN(len(list))]
}

// drop forgets one, so that the stock does not fill up with what is gone.
func (s *stock) drop(kind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.ids[kind]
	for i, other := range list {
		if other == id {
			s.ids[kind] = append(list[:i:i], list[i+1:]...)
			return
		}
	}
}

func (w *worker) run(ctx context.Context) {
	acts := w.acts()
	for ctx.Err() == nil {
		acts[w.random.IntN(len(acts))](ctx)
	}
}

type act = func(ctx context.Context)

// acts lists what a worker may do; what is listed twice is done twice as often.
func (w *worker) acts() []act {
	on := func(kind, plural, action string, body func() map[string]any) act {
		return func(ctx context.Context) {
			if id := w.stock.pick(w.random, kind); id != "" {
				w.ask(ctx, http.MethodPost, "/v1/"+plural+"/"+id+"/actions/"+action, body())
			}
		}
	}
	none := func() map[string]any { return nil }
	size := func() map[string]any { return map[string]any{"sizeBytes": gib * (1 + w.random.IntN(4))} }
	volume := func() map[string]any { return map[string]any{"volumeId": w.stock.pick(w.random, "volume")} }
	return []act{
		w.createVolume, w.createVolume, w.createVolume, w.createMachine, w.createMachine, w.createSnapshot, w.createRule,
		w.changeRule, w.changeNetwork, w.renameMachine,
		w.remove("volume", "volumes"), w.remove("volume", "volumes"), w.remove("machine", "machines"),
		w.remove("snapshot", "snapshots"), w.remove("snapshot", "snapshots"), w.remove("rule", "rules"),
		on("volume", "volumes", "grow", size),
		on("machine", "machines", "stop", func() map[string]any { return map[string]any{"force": true, "graceSeconds": 1} }),
		on("machine", "machines", "start", none), on("machine", "machines", "reboot", none),
		on("machine", "machines", "pause", none), on("machine", "machines", "resume", none),
		on("machine", "machines", "snapshot", none),
		on("machine", "machines", "attach-volume", volume), on("machine", "machines", "detach-volume", volume),
		on("machine", "machines", "attach-nic", func() map[string]any {
			return map[string]any{"nic": map[string]any{"networkId": w.stock.pick(w.random, "network")}}
		}),
		w.cancelSomething,
	}
}

func (w *worker) createVolume(ctx context.Context) {
	spec := map[string]any{"sizeBytes": gib * (1 + w.random.IntN(2))}
	switch w.random.IntN(4) {
	case 0:
		spec = map[string]any{"templateId": w.stock.pick(w.random, "template")}
	case 1:
		if id := w.stock.pick(w.random, "snapshot"); id != "" {
			spec = map[string]any{"snapshotId": id}
		}
	}
	w.ask(ctx, http.MethodPost, "/v1/volumes", map[string]any{"spec": spec})
}

func (w *worker) createMachine(ctx context.Context) {
	at := w.at()
	root := map[string]any{"templateId": w.stock.pick(w.random, "template"+at)}
	spec := map[string]any{
		"cpus": 1, "memoryBytes": gib, "root": root,
		"nics": []any{map[string]any{"networkId": w.stock.pick(w.random, "network"+at)}},
	}
	if at != "" && w.random.IntN(2) == 0 { // else the planner finds out what goes together
		root["poolId"] = w.stock.pick(w.random, "pool"+at)
		spec["placement"] = map[string]any{"hostId": w.stock.pick(w.random, "host"+at)}
	}
	w.ask(ctx, http.MethodPost, "/v1/machines", map[string]any{"name": "m-" + client.NewKey()[:12], "spec": spec})
}

func (w *worker) createSnapshot(ctx context.Context) {
	if id := w.stock.pick(w.random, "volume"); id != "" {
		w.ask(ctx, http.MethodPost, "/v1/snapshots", map[string]any{"spec": map[string]any{"volumeId": id}})
	}
}

func (w *worker) createRule(ctx context.Context) {
	port := 1 + w.random.IntN(60000)
	w.ask(ctx, http.MethodPost, "/v1/rules", map[string]any{"spec": map[string]any{
		"networkId": w.stock.pick(w.random, "network"), "type": "ingress", "protocol": "tcp", "ports": fmt.Sprint(port),
	}})
}

func (w *worker) changeRule(ctx context.Context) {
	if id := w.stock.pick(w.random, "rule"); id != "" {
		port := 1 + w.random.IntN(60000)
		w.ask(ctx, http.MethodPatch, "/v1/rules/"+id, map[string]any{"spec": map[string]any{"ports": fmt.Sprint(port)}})
	}
}

func (w *worker) changeNetwork(ctx context.Context) {
	if id := w.stock.pick(w.random, "network"); id != "" {
		server := fmt.Sprintf("192.0.2.%d", 1+w.random.IntN(200))
		w.ask(ctx, http.MethodPatch, "/v1/networks/"+id, map[string]any{"spec": map[string]any{"dnsServers": []any{server}}})
	}
}

func (w *worker) renameMachine(ctx context.Context) {
	if id := w.stock.pick(w.random, "machine"); id != "" {
		w.ask(ctx, http.MethodPatch, "/v1/machines/"+id, map[string]any{"name": "m-" + client.NewKey()[:12]})
	}
}

func (w *worker) remove(kind, plural string) act {
	return func(ctx context.Context) {
		if id := w.stock.pick(w.random, kind); id != "" {
			if w.ask(ctx, http.MethodDelete, "/v1/"+plural+"/"+id, nil) {
				w.stock.drop(kind, id)
			}
		}
	}
}

// cancelSomething asks for one of the last operations to stop.
func (w *worker) cancelSomething(ctx context.Context) {
	w.ledger.mu.Lock()
	n := len(w.ledger.accepted)
	id := ""
	if n > 0 {
		id = w.ledger.accepted[n-1-w.random.IntN(min(n, 8))].id
	}
	w.ledger.mu.Unlock()
	if id == "" || w.random.IntN(3) != 0 {
		return
	}
	path := "/v1/operations/" + id + "/actions/cancel"
	w.client.Insist(ctx, http.MethodPost, path, nil) //nolint:errcheck // it may have ended
}

// ask sends a request until it is answered and notes what was promised.
func (w *worker) ask(ctx context.Context, method, path string, body any) bool {
	if m, ok := body.(map[string]any); ok && m == nil {
		body = nil
	}
	answer, err := w.client.Insist(ctx, method, path, body)
	if err != nil {
		return false
	}
	if answer.Status != http.StatusAccepted {
		w.ledger.refuse(method+" "+path, answer)
		return answer.Status == http.StatusNotFound
	}
	target := answer.Part("target")
	a := accepted{
		id: answer.Text("id"), action: answer.Text("action"),
		kind: fmt.Sprint(target["kind"]), target: fmt.Sprint(target["id"]),
	}
	w.ledger.accept(a)
	w.pulse.beat()
	if a.action == "create" {
		w.stock.add(a.kind, a.target)
	}
	// Wait for most of them, as people do.
	if w.random.IntN(4) != 0 {
		end := "/v1/operations/" + a.id + "?wait=2s"
		w.client.Insist(ctx, http.MethodGet, end, nil) //nolint:errcheck // the end is checked later
	}
	return true
}
