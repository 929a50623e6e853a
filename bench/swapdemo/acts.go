package main

import (
	"context"
	"net/http"
)

const (
	growBy     = 1 << 20
	newBytes   = 4 << 20
	mostOwn    = 6 // volumes that no guest has, of which some are deleted
	machines   = "/v1/machines/"
	allVolumes = "/v1/volumes"
)

// grow makes the data volume of a guest larger, twice.
func (l *load) grow(ctx context.Context, g *guest) {
	path := machines + g.id + "/actions/grow-volume"
	body := func(bytes uint64) any { return map[string]any{"volumeId": g.volume, "sizeBytes": bytes} }
	first := l.ask(ctx, http.MethodPost, path, body(g.bytes+growBy))
	second := l.ask(ctx, http.MethodPost, path, body(g.bytes+2*growBy))
	if l.both(ctx, first, second) {
		g.bytes += 2 * growBy
	}
}

// pause has a guest stand still for a moment.
func (l *load) pause(ctx context.Context, g *guest) {
	first := l.ask(ctx, http.MethodPost, machines+g.id+"/actions/pause", nil)
	second := l.ask(ctx, http.MethodPost, machines+g.id+"/actions/resume", nil)
	l.both(ctx, first, second)
}

// snapshot takes snapshots of both disks of a guest at one moment, and deletes them.
func (l *load) snapshot(ctx context.Context, g *guest) {
	taken := l.ask(ctx, http.MethodPost, machines+g.id+"/actions/snapshot", nil)
	if _, fine := l.end(ctx, taken); !fine {
		return
	}
	list, err := l.client.All(ctx, "/v1/snapshots", "group="+taken.id)
	if err != nil || len(list) != 2 {
		l.report.find(&l.report.Failed, "operation %s made %d snapshots (%v)", taken.id, len(list), err)
		return
	}
	for _, s := range list {
		id, _ := s["id"].(string)
		l.end(ctx, l.ask(ctx, http.MethodDelete, "/v1/snapshots/"+id, nil))
	}
}

// create makes a volume that no guest has, and makes it larger before it is there.
func (l *load) create(ctx context.Context) {
	first := l.ask(ctx, http.MethodPost, allVolumes, map[string]any{
		"spec": map[string]any{"poolId": l.pool, "sizeBytes": newBytes},
	})
	if first == nil {
		return
	}
	path := allVolumes + "/" + first.target + "/actions/grow"
	second := l.ask(ctx, http.MethodPost, path, map[string]any{"sizeBytes": 2 * newBytes})
	if l.both(ctx, first, second) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.volumes = append(l.volumes, &volume{first.target, 2 * newBytes})
	}
}

// remove makes one of them larger and deletes it, once there are some.
func (l *load) remove(ctx context.Context) {
	v := l.oldest()
	if v == nil {
		l.create(ctx)
		return
	}
	path := allVolumes + "/" + v.id
	first := l.ask(ctx, http.MethodPost, path+"/actions/grow", map[string]any{"sizeBytes": v.bytes + growBy})
	second := l.ask(ctx, http.MethodDelete, path, nil)
	l.both(ctx, first, second)
}

// oldest takes one out; nil while there are few.
func (l *load) oldest() *volume {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.volumes) < mostOwn {
		return nil
	}
	v := l.volumes[0]
	l.volumes = l.volumes[1:]
	return v
}
