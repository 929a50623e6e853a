package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// pulse asks for something all the time and keeps the longest time that it was not answered for.
func pulse(ctx context.Context, ask func(context.Context) error) (longest time.Duration) {
	last := time.Now()
	for ctx.Err() == nil {
		if ask(ctx) == nil {
			longest, last = max(longest, time.Since(last)), time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return max(longest, time.Since(last))
}

// TestOthersGoOnWhenTheLeaderIsCutOff cuts the leader off without anybody being told: what was asked of it and is not
// answered must not hold up what comes after it.
func TestOthersGoOnWhenTheLeaderIsCutOff(t *testing.T) {
	const most = 2 * time.Second
	for kind, ask := range map[string]func(context.Context, *cluster.Node) error{
		"reads": func(ctx context.Context, n *cluster.Node) error {
			_, err := n.ReadIndex(ctx)
			return err
		},
		"renewals": func(ctx context.Context, n *cluster.Node) error {
			_, err := n.Renew(ctx)
			return err
		},
		"proposals": func(ctx context.Context, n *cluster.Node) error {
			_, err := n.Propose(ctx, fmt.Append(nil, "pulse"))
			return err
		},
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCouncil(t, 3)
				defer c.close(t)
				leader := c.leader(t, "")
				ctx, end := context.WithTimeout(t.Context(), 30*time.Second)
				defer end()
				var asking sync.WaitGroup
				for name, n := range c.nodes {
					if name == leader {
						continue
					}
					for range 3 {
						asking.Go(func() {
							if gap := pulse(ctx, func(ctx context.Context) error { return ask(ctx, n) }); gap > most {
								t.Errorf("%s: none answered for %s", name, gap)
							}
						})
					}
				}
				time.Sleep(time.Second)
				c.hub.Isolate(leader)
				asking.Wait()
			})
		})
	}
}
