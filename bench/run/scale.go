package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Targets.
const (
	startTarget  = 10 * time.Second
	pageTarget   = 5 * time.Millisecond
	memoryTarget = 1024 // bytes per idle resource

	profiledLists = 2 * time.Second

	// A server is at rest when its memory did not shrink by this much in any of so many
	// looks in a row.
	restShrinks = 1 << 20
	restLooks   = 12
	mostLooks   = 36 // then what it has is what it has
)

// scale measures start, memory and lists of zones that hold many resources.
func scale(ctx context.Context, s settings, p *printer) (err error) {
	on, clean, err := newSubject(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	f := &filler{dir: on.Dir}
	if err := f.fill(ctx, 0); err != nil {
		return err
	}
	sc := &scaleBench{on: on, filler: f, settings: s, printer: p}
	if sc.empty, err = sc.idle(ctx); err != nil {
		return err
	}
	for _, n := range s.resources {
		start := time.Now()
		if err := f.fill(ctx, n); err != nil {
			return err
		}
		if err := sc.measure(ctx, n, time.Since(start)); err != nil {
			return err
		}
	}
	return nil
}

type scaleBench struct {
	on       subject
	filler   *filler
	settings settings
	printer  *printer
	empty    memory // of the empty server, soon after its start
	trim     memory // of the empty server at rest
}

// idle returns the memory of a server that has nothing to do.
func (b *scaleBench) idle(ctx context.Context) (m memory, err error) {
	if _, err := b.on.begin(ctx); err != nil {
		return m, errors.Join(err, b.on.Kill())
	}
	defer func() { err = errors.Join(err, b.on.Stop(context.WithoutCancel(ctx), b.on.client)) }()
	m, b.trim, err = b.memory(ctx)
	return m, err
}

// memory returns what the server has soon after its start, and what it has at rest:
// when its compactions are over, Badger gave up their buffers, one every two
// seconds, and the server gave what it does not use back to the kernel.
func (b *scaleBench) memory(ctx context.Context) (soon, last memory, err error) {
	if err := rest(ctx, b.settings.settle); err != nil {
		return soon, last, err
	}
	if soon, err = memoryOf(b.on.PID()); err != nil {
		return soon, last, err
	}
	last = soon
	for same, looks := 0, 0; same < restLooks && looks < mostLooks; looks++ {
		if err := rest(ctx, b.settings.settle); err != nil {
			return soon, last, err
		}
		now, err := memoryOf(b.on.PID())
		if err != nil {
			return soon, last, err
		}
		if same++; last.anon-now.anon > restShrinks {
			same = 0
		}
		last = now
	}
	return soon, last, nil
}

func rest(ctx context.Context, long time.Duration) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting for the server to come to rest: %w", ctx.Err())
	case <-time.After(long):
		return nil
	}
}

func (b *scaleBench) measure(ctx context.Context, n int, filled time.Duration) (err error) {
	took, err := b.on.begin(ctx)
	if err != nil {
		return errors.Join(err, b.on.Kill())
	}
	defer func() { err = errors.Join(err, b.on.Stop(context.WithoutCancel(ctx), b.on.client)) }()
	soon, idle, err := b.memory(ctx)
	if err != nil {
		return err
	}
	if err := b.on.heap(ctx, b.settings, fmt.Sprintf("scale-%d", n)); err != nil {
		return err
	}
	each := func(now, empty int64) float64 { return rounded(float64(now-empty) / float64(n)) }
	anon := each(idle.anon, b.trim.anon)
	err = b.printer.print(map[string]any{
		"bench": "scale-memory", "resources": n, "fillSeconds": rounded(filled.Seconds()),
		"anonBytes": idle.anon, "emptyAnonBytes": b.trim.anon, "bytesPerResource": anon,
		"startedAnonBytes": soon.anon, "emptyStartedAnonBytes": b.empty.anon,
		"startedBytesPerResource": each(soon.anon, b.empty.anon),
		"fileBytes":               soon.file, "fileBytesPerResource": each(soon.file, b.empty.file),
		"target": memoryTarget, "met": anon < memoryTarget,
	})
	if err != nil {
		return err
	}
	if err := b.lists(ctx, n); err != nil {
		return err
	}
	if err := b.on.Kill(); err != nil {
		return err
	}
	again, err := b.on.begin(ctx)
	if err != nil {
		return err
	}
	return b.printer.print(map[string]any{
		"bench": "scale-start", "resources": n, "startMs": millis(took), "startAfterKillMs": millis(again),
		"targetMs": millis(startTarget), "met": max(took, again) < startTarget,
	})
}

// lists measures pages of 100, each another one.
func (b *scaleBench) lists(ctx context.Context, n int) error {
	label := url.QueryEscape(labelKey + "=" + labelValue(0))
	pool := string(b.filler.pools[0])
	for _, list := range []struct{ name, filter string }{
		{"all", ""},
		{"label", "&labelSelector=" + label},
		{"poolId", "&poolId=" + pool},
		{"poolId+label", "&poolId=" + pool + "&labelSelector=" + label},
		{"phase", "&phase=ready"},
	} {
		before, err := cpuTime(b.on.PID())
		if err != nil {
			return err
		}
		var took []time.Duration
		items := 0
		walk := func() (err error) {
			took, items, err = b.pages(ctx, list.filter)
			return err
		}
		if b.settings.urgent {
			calm := walk
			walk = func() error { return urgently(calm, b.on.PID()) }
		}
		err = b.on.profiled(ctx, b.settings, fmt.Sprintf("list-%s-%d", list.name, n), profiledLists, walk)
		if err != nil {
			return err
		}
		after, err := cpuTime(b.on.PID())
		if err != nil {
			return err
		}
		took = sorted(took)
		p99 := quantile(took, 0.99)
		err = b.printer.print(map[string]any{
			"bench": "scale-list", "resources": n, "filter": list.name, "pages": len(took),
			"urgent":       b.settings.urgent,
			"itemsPerPage": rounded(float64(items) / float64(len(took))), "p50Ms": millis(quantile(took, 0.5)),
			"p99Ms":              millis(p99),
			"serverCpuMsPerPage": rounded(millis(after-before) / float64(len(took))),
			"targetMs":           millis(pageTarget), "met": p99 < pageTarget,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pages walks through a list, from its begin again after its end.
func (b *scaleBench) pages(ctx context.Context, filter string) (took []time.Duration, items int, err error) {
	token := ""
	for range b.settings.requests {
		path := "/v1/volumes?pageSize=100" + filter
		if token != "" {
			path += "&pageToken=" + url.QueryEscape(token)
		}
		start := time.Now()
		data, err := b.on.client.Fetch(ctx, path)
		if err != nil {
			return nil, 0, err
		}
		took = append(took, time.Since(start))
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"nextPageToken"`
		}
		if err := json.Unmarshal(data, &page); err != nil {
			return nil, 0, fmt.Errorf("reading a page: %w", err)
		}
		token, items = page.Next, items+len(page.Items)
	}
	return took, items, nil
}
