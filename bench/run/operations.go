package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

const simulator = "bulkhead/sim"

// operations measures how many volumes a second are created, each from the
// request to its durable end.
func operations(ctx context.Context, s settings, p *printer) error {
	return withServer(ctx, s, func(on subject) error {
		pool, err := createPool(ctx, on.client, "bench", roomyPool(simulator, ""))
		if err != nil {
			return err
		}
		answer, err := on.client.Insist(ctx, http.MethodGet, "/v1/drivers", nil)
		if err != nil {
			return err
		}
		driver := server.DriverPIDs(answer, simulator)
		if len(driver) != 1 {
			return fmt.Errorf("found %d processes of %s", len(driver), simulator)
		}
		o := &operationsBench{on: on, pool: pool, driver: driver[0], printer: p, name: "operations"}
		if s.slow {
			o.name = "slow-disk"
		}
		for _, callers := range append([]int{s.callers[0]}, s.callers...) {
			err := on.profiled(ctx, s, fmt.Sprintf("operations-%d", callers), s.duration, func() error {
				return o.measure(ctx, callers, s.duration)
			})
			if err != nil {
				return err
			}
		}
		return errors.Join(o.compare(s.callers), on.heap(ctx, s, "operations"))
	})
}

// onSlowDisk measures the same on a disk that takes its time to make sure of what
// was written: how many operations share a flush decides there.
func onSlowDisk(ctx context.Context, s settings, p *printer) error {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: slow-disk is left out: it mounts a file system, which takes root")
		return nil
	}
	s.slow = true
	return operations(ctx, s, p)
}

// roomyPool is a pool that does not fill up.
func roomyPool(driver, faults string) map[string]any {
	spec := map[string]any{"driver": driver, "overcommit": 100}
	properties := map[string]any{"capacityBytes": 1 << 50}
	if faults != "" {
		properties["faults"] = faults
	}
	spec["properties"] = properties
	return spec
}

type operationsBench struct {
	on      subject
	pool    string
	driver  int
	printer *printer
	name    string
	warm    bool
	rates   map[int]float64
}

// measure lets callers create volumes, one after the other each.
func (o *operationsBench) measure(ctx context.Context, callers int, duration time.Duration) error {
	before, err := o.usage(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	took, err := createVolumes(ctx, o.on.client, o.pool, callers, duration)
	elapsed := time.Since(start)
	if err != nil {
		return err
	}
	after, err := o.usage(ctx)
	if err != nil {
		return err
	}
	if !o.warm { // the first round is thrown away
		o.warm, o.rates = true, map[int]float64{}
		return nil
	}
	n := float64(len(took))
	if n == 0 {
		return errors.New("no operation ended in time")
	}
	took = sorted(took)
	o.rates[callers] = n / elapsed.Seconds()
	frames := after.frames - before.frames
	return o.printer.print(map[string]any{
		"bench": o.name, "callers": callers, "operations": len(took),
		"opsPerSecond": rounded(o.rates[callers]),
		"p50Ms":        millis(quantile(took, 0.5)), "p99Ms": millis(quantile(took, 0.99)),
		"serverCpuMsPerOp":     rounded(millis(after.server-before.server) / n),
		"serverCpuWaitMsPerOp": rounded(millis(after.waited-before.waited) / n),
		"driverCpuMsPerOp":     rounded(millis(after.driver-before.driver) / n),
		"callersCpuMsPerOp":    rounded(millis(after.callers-before.callers) / n),
		"commandsPerEntry":     rounded((after.commands - before.commands) / frames),
		"entriesPerOp":         rounded(frames / n), "commandsPerOp": rounded((after.commands - before.commands) / n),
		"entryStoredMs": rounded((after.stored - before.stored) / (after.appends - before.appends) * 1000),
		"stateApplyMs":  rounded((after.applied - before.applied) / (after.applies - before.applies) * 1000),
	})
}

// compare prints what many callers gain over one.
func (o *operationsBench) compare(callers []int) error {
	few, many := callers[0], callers[len(callers)-1]
	ratio := o.rates[many] / o.rates[few]
	const target = 10
	return o.printer.print(map[string]any{
		"bench": o.name + "-ratio", "callers": many, "against": few, "ratio": rounded(ratio),
		"target": target, "met": ratio >= target,
	})
}

// usage is what the server has used so far.
type usage struct {
	server, driver   time.Duration
	callers          time.Duration // this process
	waited           time.Duration
	commands, frames float64
	stored, appends  float64
	applied, applies float64
}

func (o *operationsBench) usage(ctx context.Context) (u usage, err error) {
	if u.server, err = cpuTime(o.on.PID()); err != nil {
		return u, err
	}
	if u.waited, err = waitTime(o.on.PID()); err != nil {
		return u, err
	}
	if u.driver, err = cpuTime(o.driver); err != nil {
		return u, err
	}
	if u.callers, err = cpuTime(os.Getpid()); err != nil {
		return u, err
	}
	figures, err := o.on.figures(ctx)
	if err != nil {
		return u, err
	}
	u.commands, u.frames = figures["bulkhead_log_frame_commands_sum"], figures["bulkhead_log_frame_commands_count"]
	u.stored, u.appends = figures["bulkhead_log_append_seconds_sum"], figures["bulkhead_log_append_seconds_count"]
	u.applied, u.applies = figures["bulkhead_state_apply_seconds_sum"], figures["bulkhead_state_apply_seconds_count"]
	return u, nil
}

// createVolumes returns how long each of the volumes took that callers created.
func createVolumes(
	ctx context.Context, c *client.Client, pool string, callers int, duration time.Duration,
) ([]time.Duration, error) {
	var (
		mu    sync.Mutex
		all   []time.Duration
		first error
		wg    sync.WaitGroup
	)
	end := time.Now().Add(duration)
	for range callers {
		wg.Go(func() {
			took, err := createUntil(ctx, c, pool, end)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return all, first
}

func createUntil(ctx context.Context, c *client.Client, pool string, end time.Time) ([]time.Duration, error) {
	body := map[string]any{"spec": map[string]any{"sizeBytes": 1 << 20, "poolId": pool}}
	var took []time.Duration
	for time.Now().Before(end) {
		start := time.Now()
		answer, err := c.Do(ctx, http.MethodPost, "/v1/volumes?wait=60s", client.NewKey(), body)
		if err != nil {
			return nil, err
		}
		if answer.Text("phase") != "succeeded" {
			return nil, fmt.Errorf("creating a volume: %d %v", answer.Status, answer.Body)
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}
