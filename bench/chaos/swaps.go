package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// installed are the versions of the simulator besides the one that ships with the program.
func installed() []string { return []string{"2.0.0", "2.1.0"} }

// swapper has one version of the simulator after the other act, for all or for some.
type swapper struct {
	client   *client.Client
	random   *rand.Rand
	ledger   *ledger
	stock    *stock
	versions []string // ids
	ids      []string // of the swaps
}

// swapperOf installs the versions, if they are to be swapped; else it has none, and does nothing.
func swapperOf(ctx context.Context, of settings, c *client.Client, l *ledger, s *stock) (*swapper, error) {
	w := &swapper{client: c, random: rand.New(rand.NewPCG(of.seed, 5000)), ledger: l, stock: s}
	if !of.swaps || of.real {
		return w, nil
	}
	for _, version := range installed() {
		car, err := server.Simulator(ctx, version)
		if err != nil {
			return nil, err
		}
		answer, err := c.Upload(ctx, "/v1/drivers?wait=60s", car)
		if err != nil || answer.Text("phase") != "succeeded" {
			return nil, errors.Join(err, fmt.Errorf("installing version %s: %d %v", version, answer.Status, answer.Body))
		}
	}
	drivers, err := c.All(ctx, "/v1/drivers", "product=bulkhead/sim")
	for _, d := range drivers {
		w.versions = append(w.versions, fmt.Sprint(d["id"]))
	}
	return w, err
}

// run swaps until ctx ends.
func (w *swapper) run(ctx context.Context) {
	for ctx.Err() == nil && len(w.versions) > 0 {
		if id := w.plan(ctx); id != "" {
			w.carryOut(ctx, id)
		}
	}
}

// plan asks for a swap and returns its id; "" if there was none to be had.
func (w *swapper) plan(ctx context.Context) string {
	from := w.acting(ctx)
	to := w.versions[w.random.IntN(len(w.versions))]
	if from == to || from == "" {
		return ""
	}
	spec := map[string]any{
		"from": from, "to": to, "observeSeconds": 1, "settleSeconds": 1, "canaryCount": 1 + w.random.IntN(4),
		"acceptPermissions": true,
	}
	switch kind := []string{"pool", "host", "volume", "machine", "network", "", "", ""}[w.random.IntN(8)]; kind {
	case "":
	case "volume", "machine":
		spec["scope"] = map[string]any{"resource": map[string]any{"kind": kind, "id": w.stock.pick(w.random, kind)}}
	default:
		spec["scope"] = map[string]any{"owner": map[string]any{"kind": kind, "id": w.stock.pick(w.random, kind)}}
	}
	answer, ok := w.ask(ctx, "/v1/swaps", map[string]any{"spec": spec})
	if !ok {
		return ""
	}
	return fmt.Sprint(answer.Part("target")["id"])
}

// acting picks a version that acts for something.
func (w *swapper) acting(ctx context.Context) string {
	for _, i := range w.random.Perm(len(w.versions)) {
		answer, err := w.client.Insist(ctx, http.MethodGet, "/v1/drivers/"+w.versions[i], nil)
		if err != nil {
			return ""
		}
		if bound, _ := answer.Part("status")["bound"].(float64); bound > 0 {
			return w.versions[i]
		}
	}
	return ""
}

// carryOut starts a swap, and now and then pauses it, takes it back while it is under way, or afterwards.
func (w *swapper) carryOut(ctx context.Context, id string) {
	w.ids = append(w.ids, id)
	path := "/v1/swaps/" + id
	started, ok := w.ask(ctx, path+"/actions/start", nil)
	if !ok {
		return
	}
	operation := "/v1/operations/" + started.Text("id")
	switch w.random.IntN(8) {
	case 0:
		w.await(ctx, operation, 1)
		w.client.Insist(ctx, http.MethodPost, operation+"/actions/cancel", nil) //nolint:errcheck // it may have ended
	case 1:
		w.suspend(ctx, path)
	}
	if w.await(ctx, operation, 0) == "succeeded" && w.random.IntN(4) == 0 {
		if back, ok := w.ask(ctx, path+"/actions/roll-back", nil); ok {
			w.await(ctx, "/v1/operations/"+back.Text("id"), 0)
		}
	}
}

// suspend pauses a swap for a moment. It goes on whatever happens to this client's connections.
func (w *swapper) suspend(ctx context.Context, path string) {
	w.client.Insist(ctx, http.MethodPost, path+"/actions/suspend", nil) //nolint:errcheck // it may have ended
	w.await(ctx, path, 1)
	w.client.Insist(context.WithoutCancel(ctx), http.MethodPost, path+"/actions/resume", nil) //nolint:errcheck // as above
}

// await waits for the end of an operation, or so many seconds, and returns its phase.
func (w *swapper) await(ctx context.Context, path string, seconds int) string {
	for ctx.Err() == nil {
		wait := 10
		if seconds > 0 {
			wait = seconds
		}
		answer, err := w.client.Insist(ctx, http.MethodGet, fmt.Sprintf("%s?wait=%ds", path, wait), nil)
		phase := answer.Text("phase")
		if err != nil || seconds > 0 || phase != "queued" && phase != "running" && phase != "unwinding" {
			return phase
		}
	}
	return ""
}

func (w *swapper) ask(ctx context.Context, path string, body any) (client.Answer, bool) {
	answer, err := w.client.Insist(ctx, http.MethodPost, path, body)
	if err != nil {
		return answer, false
	}
	if answer.Status != http.StatusAccepted {
		w.ledger.refuse("POST "+path, answer)
		return answer, false
	}
	target := answer.Part("target")
	w.ledger.accept(accepted{
		id: answer.Text("id"), action: answer.Text("action"), kind: "swap", target: fmt.Sprint(target["id"]),
	})
	end := "/v1/operations/" + answer.Text("id") + "?wait=10s"
	if answer.Text("action") == "create" {
		w.client.Insist(ctx, http.MethodGet, end, nil) //nolint:errcheck // the end is checked later
	}
	return answer, true
}

// swapReport is what became of the swaps.
type swapReport struct {
	Committed  int `json:"committed"`
	RolledBack int `json:"rolled_back"`
	Moved      int `json:"rebound"`
}

// tell counts what became of the swaps. One that ended in any other way is stuck.
func (w *swapper) tell(ctx context.Context, c *client.Client, check *checker) error {
	if len(w.versions) == 0 {
		return nil
	}
	swaps, err := c.All(ctx, "/v1/swaps")
	if err != nil {
		return err
	}
	r := &swapReport{}
	check.report.Swaps = r
	for _, s := range swaps {
		if !slices.Contains(w.ids, fmt.Sprint(s["id"])) {
			continue
		}
		switch phase := fmt.Sprint(s["phase"]); phase {
		case "committed":
			r.Committed++
		case "rolled-back":
			r.RolledBack++
		case "planned": // it was refused to start
		default:
			check.find(&check.report.Stuck, "swap %v is %s: %v", s["id"], phase, s["status"])
		}
	}
	for _, id := range w.ids {
		if !slices.ContainsFunc(swaps, func(s map[string]any) bool { return fmt.Sprint(s["id"]) == id }) {
			check.find(&check.report.Lost, "swap %s is not there", id)
		}
	}
	rebinds, err := c.All(ctx, "/v1/operations", "action=rebind")
	r.Moved = len(rebinds)
	return err
}
