package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

const (
	swapCallers = 64
	// swapEvery is how often each of them asks for a pair of operations: a steady rate, that the machine can follow.
	swapEvery   = time.Second
	swapFillers = 64
	// swapNeighbours are callers of a driver that nothing is done to, and neighbourEvery how often each of them asks.
	swapNeighbours = 4
	neighbourEvery = 100 * time.Millisecond
	swapPatience   = 10 * time.Minute
	swapProfile    = 15 * time.Second
	// longestSpell is how long it is looked at most what others wait without a swap, after each.
	longestSpell = 20 * time.Second
	// pauseTarget is for the 99th percentile of how long one resource is held.
	pauseTarget = 100 * time.Millisecond
	volumeBytes = 1 << 20
	growBy      = 4 << 10
	// forgiven is after how long the host has forgotten that a process ended, so that the next is started at once.
	forgiven = 65 * time.Second
	// laterLoad is with how many steps of growth the second load begins: more than the first can make.
	laterLoad = 1 << 20
)

// swaps has another version of a driver act for all its resources, again and again, while callers work on them, and
// looks that nothing fails, is lost or changes places; and then replaces the process, as others do.
func swaps(ctx context.Context, s settings, p *printer) error {
	return withServer(ctx, s, func(on subject) error {
		b := &swapBench{on: on, settings: s, printer: p}
		if err := b.prepare(ctx); err != nil {
			return err
		}
		if err := b.measure(ctx); err != nil {
			return err
		}
		return b.replace(ctx)
	})
}

type swapBench struct {
	on       subject
	settings settings
	printer  *printer
	versions []string // ids: what ships with the program, and two that were installed
	pool     string
	well     string
	volumes  []string
	load     *growing
}

// prepare installs versions and makes what they act for.
func (b *swapBench) prepare(ctx context.Context) (err error) {
	if b.pool, err = createPool(ctx, b.on.client, "swapped", roomyPool(simulator, "")); err != nil {
		return err
	}
	if b.well, err = createPool(ctx, b.on.client, "well", roomyPool(wellProduct, "")); err != nil {
		return err
	}
	for _, version := range []string{"2.0.0", "2.1.0"} {
		car, err := server.Simulator(ctx, version)
		if err != nil {
			return err
		}
		answer, err := b.on.client.Upload(ctx, "/v1/drivers?wait=60s", car)
		if err != nil || answer.Text("phase") != "succeeded" {
			return errors.Join(err, fmt.Errorf("installing version %s: %d %v", version, answer.Status, answer.Body))
		}
		b.versions = append(b.versions, fmt.Sprint(answer.Part("target")["id"]))
	}
	began := time.Now()
	b.volumes = make([]string, b.settings.swapped)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(swapFillers)
	for i := range b.volumes {
		group.Go(func() (err error) {
			b.volumes[i], err = b.volume(ctx)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.printer.note("%d volumes made in %v", len(b.volumes), time.Since(began).Round(time.Millisecond))
	return nil
}

func (b *swapBench) volume(ctx context.Context) (string, error) {
	body := map[string]any{"spec": map[string]any{"sizeBytes": volumeBytes, "poolId": b.pool}}
	answer, err := b.on.client.Do(ctx, http.MethodPost, "/v1/volumes?wait=60s", client.NewKey(), body)
	if err == nil && answer.Text("phase") != "succeeded" {
		err = fmt.Errorf("creating a volume: %d %v", answer.Status, answer.Body)
	}
	return fmt.Sprint(answer.Part("target")["id"]), err
}

// measure swaps as often as asked for, with a spell without a swap after each.
func (b *swapBench) measure(ctx context.Context) error {
	b.load = startGrowing(ctx, b.on.client, b.volumes, 0)
	other := startCreating(ctx, b.on.client, b.well)
	defer func() { b.load.stop(); other.stop() }()
	var took, during, beside, pauses []time.Duration
	var ops []string
	for i := range b.settings.swaps {
		began := time.Now()
		var op string
		err := b.on.profiled(ctx, b.settings, fmt.Sprintf("swap-%d", i), swapProfile, func() (err error) {
			op, err = b.swap(ctx, b.versions[i%len(b.versions)])
			return err
		})
		if err != nil {
			return errors.Join(err, b.load.failure())
		}
		spell := time.Since(began)
		took, ops = append(took, spell), append(ops, op)
		during = append(during, other.since(began)...)
		began = time.Now()
		pass(ctx, min(spell, longestSpell))
		beside = append(beside, other.since(began)...)
		b.printer.note("swap %d of %d took %v; p99 of others until now %v, without a swap %v", i+1, b.settings.swaps,
			spell.Round(time.Millisecond), quantile(sorted(during), 0.99).Round(time.Millisecond),
			quantile(sorted(beside), 0.99).Round(time.Millisecond))
	}
	b.load.stop()
	other.stop()
	reordered, err := b.reordered()
	if err != nil {
		return errors.Join(err, b.load.failure())
	}
	for _, op := range ops { // now: to list them all is a load of its own
		held, err := b.pauses(ctx, op)
		if err != nil {
			return err
		}
		pauses = append(pauses, held...)
	}
	all, pauses, took := sorted(b.load.took), sorted(pauses), sorted(took)
	during, beside = sorted(during), sorted(beside)
	ratio := float64(quantile(during, 0.99)) / float64(quantile(beside, 0.99))
	return b.printer.print(map[string]any{
		"bench": "swap", "resources": len(b.volumes) + 1, "callers": swapCallers, "swaps": len(took), "rebound": len(pauses),
		"operations": 2 * len(all), "failed": b.load.failed, "lost": b.load.lost, "reordered": reordered,
		"swapP50Ms": millis(quantile(took, 0.5)), "swapMaxMs": millis(took[len(took)-1]),
		"pauseP50Ms": millis(quantile(pauses, 0.5)), "pauseP99Ms": millis(quantile(pauses, 0.99)),
		"pauseMaxMs": millis(pauses[len(pauses)-1]), "pauseTargetMs": millis(pauseTarget),
		"pauseMet": quantile(pauses, 0.99) <= pauseTarget,
		"p50Ms":    millis(quantile(all, 0.5)), "p99Ms": millis(quantile(all, 0.99)),
		"othersP99Ms": millis(quantile(beside, 0.99)), "othersDuringP99Ms": millis(quantile(during, 0.99)),
		"othersP50Ms": millis(quantile(beside, 0.5)), "othersDuringP50Ms": millis(quantile(during, 0.5)),
		"othersFailed": other.failed, "othersRatio": rounded(ratio), "othersTarget": isolationTarget,
		"othersMet":   ratio <= isolationTarget,
		"lastFailure": fmt.Sprint(b.load.failure()),
	})
}

// swap has a version act, and returns the operation that had it do so.
func (b *swapBench) swap(ctx context.Context, to string) (operation string, err error) {
	body := map[string]any{"spec": map[string]any{
		"to": to, "observeSeconds": 1, "settleSeconds": 1, "acceptPermissions": true,
	}}
	answer, err := b.on.client.Insist(ctx, http.MethodPost, "/v1/swaps?wait=60s", body)
	if err != nil || answer.Text("phase") != "succeeded" {
		return "", errors.Join(err, fmt.Errorf("planning a swap: %d %v", answer.Status, answer.Body))
	}
	id := fmt.Sprint(answer.Part("target")["id"])
	if answer, err = b.on.client.Insist(ctx, http.MethodPost, "/v1/swaps/"+id+"/actions/start", nil); err != nil {
		return "", err
	}
	operation = answer.Text("id")
	for end := time.Now().Add(swapPatience); time.Now().Before(end); {
		answer, err = b.on.client.Insist(ctx, http.MethodGet, "/v1/operations/"+operation+"?wait=30s", nil)
		if err != nil || answer.Text("phase") == "succeeded" {
			return operation, err
		}
		if phase := answer.Text("phase"); phase != "running" && phase != "queued" {
			break
		}
	}
	return "", fmt.Errorf("swapping: %d %v", answer.Status, answer.Body)
}

// pauses lists how long each resource was held while it was handed over.
func (b *swapBench) pauses(ctx context.Context, parent string) (pauses []time.Duration, err error) {
	children, err := b.on.client.All(ctx, "/v1/operations", "parentId="+parent)
	if err != nil {
		return nil, err
	}
	for _, op := range children {
		if op["action"] != "rebind" {
			continue
		}
		began, err := time.Parse(time.RFC3339Nano, fmt.Sprint(op["startedAt"]))
		if err != nil {
			return nil, fmt.Errorf("operation %v: %w", op["id"], err)
		}
		ended, err := time.Parse(time.RFC3339Nano, fmt.Sprint(op["endedAt"]))
		if err != nil {
			return nil, fmt.Errorf("operation %v: %w", op["id"], err)
		}
		pauses = append(pauses, ended.Sub(began))
	}
	return pauses, nil
}

// reordered counts what took effect in another order than it was asked for: volumes that became smaller.
func (b *swapBench) reordered() (count int, err error) {
	truth, err := simworld.LoadTruth(b.on.World(simulator))
	if err != nil {
		return 0, err
	}
	sizes := map[string]uint64{}
	for _, e := range truth.Effects() {
		if e.Call != "GrowVolume" {
			continue
		}
		if e.Object.Bytes < sizes[e.Object.ID] {
			count++
		}
		sizes[e.Object.ID] = e.Object.Bytes
	}
	return count, nil
}

// replace does what others do: the process is ended and another one started, while the callers go on.
func (b *swapBench) replace(ctx context.Context) error {
	b.load = startGrowing(ctx, b.on.client, b.volumes, laterLoad)
	defer b.load.stop()
	pass(ctx, b.settings.settle)
	answer, err := b.on.client.Insist(ctx, http.MethodGet, "/v1/drivers", nil)
	if err != nil {
		return err
	}
	var gaps []time.Duration
	for i := range b.settings.replaced {
		if i > 0 {
			pass(ctx, forgiven)
		}
		from := time.Now()
		if err := endDriver(answer, b.acting()); err != nil {
			return err
		}
		pass(ctx, b.settings.settle)
		gaps = append(gaps, b.load.gap(from))
		if answer, err = b.on.client.Insist(ctx, http.MethodGet, "/v1/drivers", nil); err != nil {
			return err
		}
	}
	b.load.stop()
	all := sorted(b.load.took)
	gaps = sorted(gaps)
	return b.printer.print(map[string]any{
		"bench": "swap-by-restart", "callers": swapCallers, "restarts": len(gaps), "operations": 2 * len(all),
		"failed": b.load.failed, "lost": b.load.lost, "pauseP50Ms": millis(quantile(gaps, 0.5)),
		"pauseMaxMs": millis(gaps[len(gaps)-1]), "p50Ms": millis(quantile(all, 0.5)), "p99Ms": millis(quantile(all, 0.99)),
		"lastFailure": fmt.Sprint(b.load.failure()),
	})
}

// endDriver ends the process of a version.
func endDriver(drivers client.Answer, id string) error {
	items, _ := drivers.Body["items"].([]any)
	for _, item := range items {
		one, _ := item.(map[string]any)
		if one["id"] != id {
			continue
		}
		only := client.Answer{Body: map[string]any{"items": []any{item}}}
		for _, pid := range server.DriverPIDs(only, simulator) {
			return server.KillDriver(pid)
		}
	}
	return errors.New("the version that acts has no process")
}

// acting is the version that the last swap was to.
func (b *swapBench) acting() string { return b.versions[(b.settings.swaps-1)%len(b.versions)] }

func pass(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// growing is callers who grow volumes, each its own, two steps at a time: the second is asked for before the first has
// ended.
type growing struct {
	client *client.Client
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu           sync.Mutex
	took         []time.Duration
	ended        []time.Time
	failed, lost int
	last         error
}

func startGrowing(ctx context.Context, c *client.Client, volumes []string, steps uint64) *growing {
	asking, cancel := context.WithCancel(ctx)
	g := &growing{client: c, cancel: cancel}
	share := max(len(volumes)/swapCallers, 1)
	for own := range slices.Chunk(volumes, share) {
		g.done.Go(func() { g.run(ctx, asking, own, steps) })
		pass(ctx, swapEvery/swapCallers) // so that they are not in step
	}
	return g
}

func (g *growing) stop() {
	g.cancel()
	g.done.Wait()
}

func (g *growing) run(ctx, asking context.Context, volumes []string, size uint64) {
	tick := time.NewTicker(swapEvery)
	defer tick.Stop()
	for i := 0; asking.Err() == nil; i++ {
		select {
		case <-asking.Done():
			return
		case <-tick.C:
		}
		size++
		path := "/v1/volumes/" + volumes[i%len(volumes)] + "/actions/grow"
		first, err := g.client.Insist(ctx, http.MethodPost, path, map[string]any{"sizeBytes": volumeBytes + size*growBy})
		began := time.Now()
		size++
		more := map[string]any{"sizeBytes": volumeBytes + size*growBy}
		second, also := g.client.Insist(ctx, http.MethodPost, path+"?wait=60s", more)
		took := time.Since(began)
		if err = errors.Join(err, also); err == nil {
			first, err = g.client.Insist(ctx, http.MethodGet, "/v1/operations/"+first.Text("id")+"?wait=60s", nil)
		}
		g.note(took, err, first, second)
	}
}

func (g *growing) note(took time.Duration, err error, answers ...client.Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range answers {
		switch {
		case err == nil && a.Text("phase") == "succeeded":
		case err != nil || a.Text("phase") == "running" || a.Text("phase") == "queued":
			g.lost++
			g.last = errors.Join(err, fmt.Errorf("lost: %d %v", a.Status, a.Body))
		default:
			g.failed++
			g.last = fmt.Errorf("failed: %d %v", a.Status, a.Body)
		}
	}
	g.took, g.ended = append(g.took, took), append(g.ended, time.Now())
}

// failure is the last one; nil if there was none.
func (g *growing) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// gap is the longest time since then without an operation that ended.
func (g *growing) gap(from time.Time) (longest time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, at := range append(slices.Clone(g.ended), time.Now()) {
		if at.After(from) {
			longest, from = max(longest, at.Sub(from)), at
		}
	}
	return longest
}

// creating is callers of the driver that nothing is done to. They ask at a steady rate, and what they ask for counts
// from when it was to be asked for: who waits for an answer can't ask, and would miss how long others would have
// waited.
type creating struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	all    []timed
	failed int
	body   map[string]any
}

// timed is how long something took that was to begin at a time.
type timed struct {
	at   time.Time
	took time.Duration
}

func startCreating(ctx context.Context, c *client.Client, pool string) *creating {
	asking, cancel := context.WithCancel(ctx)
	n := &creating{cancel: cancel, body: map[string]any{"spec": map[string]any{"sizeBytes": volumeBytes, "poolId": pool}}}
	start := time.Now()
	for i := range swapNeighbours {
		first := start.Add(time.Duration(i) * neighbourEvery / swapNeighbours) // they are not in step
		n.done.Go(func() {
			for due := first; ; due = due.Add(neighbourEvery) {
				if pass(asking, time.Until(due)); asking.Err() != nil {
					return
				}
				n.ask(ctx, c, due)
			}
		})
	}
	return n
}

// ask asks for a volume that was to be asked for when it is due.
func (n *creating) ask(ctx context.Context, c *client.Client, due time.Time) {
	answer, err := c.Do(ctx, http.MethodPost, "/v1/volumes?wait=60s", client.NewKey(), n.body)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil || answer.Text("phase") != "succeeded" {
		n.failed++
		return
	}
	n.all = append(n.all, timed{due, time.Since(due)})
}

func (n *creating) stop() {
	n.cancel()
	n.done.Wait()
}

// since lists how long those took that were to begin since then.
func (n *creating) since(from time.Time) (took []time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, one := range n.all {
		if !one.at.Before(from) {
			took = append(took, one.took)
		}
	}
	return took
}
