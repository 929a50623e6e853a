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
	empty    memory
}

// idle returns the memory of a server that has nothing to do.
func (b *scaleBench) idle(ctx context.Context) (m memory, err error) {
	if _, err := b.on.begin(ctx); err != nil {
		return m, errors.Join(err, b.on.Kill())
	}
	defer func() { err = errors.Join(err, b.on.Stop(context.WithoutCancel(ctx), b.on.client)) }()
	if err := rest(ctx, b.settings.settle); err != nil {
		return m, err
	}
	return memoryOf(b.on.PID())
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
	if err := rest(ctx, b.settings.settle); err != nil {
		return err
	}
	m, err := memoryOf(b.on.PID())
	if err != nil {
		return err
	}
	anon := float64(m.anon-b.empty.anon) / float64(n)
	err = b.printer.print(map[string]any{
		"bench": "scale-memory", "resources": n, "fillSeconds": rounded(filled.Seconds()),
		"anonBytes": m.anon, "fileBytes": m.file, "emptyAnonBytes": b.empty.anon, "emptyFileBytes": b.empty.file,
		"bytesPerResource": rounded(anon), "fileBytesPerResource": rounded(float64(m.file-b.empty.file) / float64(n)),
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
		took, items, err := b.pages(ctx, list.filter)
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
