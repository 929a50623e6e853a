package planner_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/planner"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func hostOn(node string) planner.Host {
	h := &resources.Host{
		Meta: resources.Meta{Kind: resources.KindHost, ID: "host-" + node, Name: "h", Phase: resources.PhaseReady},
		Spec: resources.HostSpec{Node: node}, Status: resources.HostStatus{CPUs: 8, MemoryBytes: 8 << 30},
	}
	return planner.Host{Host: h, Capacity: h.Capacity(1, 1)}
}

func TestAHostIsOnTheNodeOfWhatItsMachineHas(t *testing.T) {
	network := func(node string) planner.Tie { return planner.Tie{What: "network lan", Node: node} }
	volume := func(node string) planner.Tie { return planner.Tie{What: "volume data in pool fast", Node: node} }
	for name, c := range map[string]struct {
		ties   []planner.Tie
		hosts  []string
		chosen string
		// why each host is refused.
		why map[string]string
	}{
		"nothing ties it":     {hosts: []string{"a"}, chosen: "host-a"},
		"the same node":       {ties: []planner.Tie{network("a"), volume("a")}, hosts: []string{"a"}, chosen: "host-a"},
		"the tie is anywhere": {ties: []planner.Tie{network("")}, hosts: []string{"a"}, chosen: "host-a"},
		"the host is anywhere": {
			ties: []planner.Tie{network("a"), volume("a")}, hosts: []string{""}, chosen: "host-",
		},
		"one of two": {
			ties: []planner.Tie{network("b")}, hosts: []string{"a", "b"}, chosen: "host-b",
			why: map[string]string{"host-a": "network lan is on node b, the host on node a"},
		},
		"two nodes": {
			ties: []planner.Tie{network("a"), volume("b")}, hosts: []string{"a", "b", "c"},
			why: map[string]string{
				"host-a": "volume data in pool fast is on node b, the host on node a",
				"host-b": "network lan is on node a, the host on node b",
				"host-c": "network lan is on node a; volume data in pool fast is on node b, the host on node c",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var hosts []planner.Host
			for _, node := range c.hosts {
				hosts = append(hosts, hostOn(node))
			}
			m := &resources.Machine{Spec: resources.MachineSpec{CPUs: 1, MemoryBytes: 1 << 30}}
			check(t, planner.Hosts(m, c.ties, hosts), c.chosen, planner.CheckNode, c.why)
		})
	}
}

func TestAPoolIsOnTheNodeOfHostAndTemplate(t *testing.T) {
	pool := func(node string) *resources.Pool {
		return &resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, ID: "pool-" + node, Phase: resources.PhaseReady},
			Spec: resources.PoolSpec{Node: node}, Status: resources.PoolStatus{TotalBytes: 1 << 40},
		}
	}
	store := func(node string) *resources.ImageStore {
		return &resources.ImageStore{
			Meta: resources.Meta{Kind: resources.KindImageStore, Name: "images"}, Spec: resources.ImageStoreSpec{Node: node},
		}
	}
	host := func(node string) *resources.Host { return hostOn(node).Host }
	for name, c := range map[string]struct {
		want   planner.Want
		pools  []string
		chosen string
		check  string
		why    map[string]string
	}{
		"neither":           {pools: []string{"a"}, chosen: "pool-a"},
		"both anywhere":     {want: planner.Want{Host: host(""), Store: store("")}, pools: []string{"a"}, chosen: "pool-a"},
		"the pool anywhere": {want: planner.Want{Host: host("a"), Store: store("a")}, pools: []string{""}, chosen: "pool-"},
		"the host's": {
			want: planner.Want{Host: host("b")}, pools: []string{"a", "b"}, chosen: "pool-b", check: planner.CheckNode,
			why: map[string]string{"pool-a": "host h is on node b, the pool on node a"},
		},
		"the template's": {
			want: planner.Want{Store: store("b")}, pools: []string{"a", "b"}, chosen: "pool-b",
			check: planner.CheckTemplateNode,
			why:   map[string]string{"pool-a": "the template is in image store images on node b, the pool on node a"},
		},
		"host and template apart": {
			want: planner.Want{Host: host("a"), Store: store("b")}, pools: []string{"a"}, check: planner.CheckTemplateNode,
			why: map[string]string{"pool-a": "the template is in image store images on node b, the pool on node a"},
		},
		"named, on another": {
			want: planner.Want{Pool: "pool-a", Host: host("b")}, pools: []string{"a"}, check: planner.CheckNode,
			why: map[string]string{"pool-a": "host h is on node b, the pool on node a"},
		},
		"one node of many names": {
			want:  planner.Want{Host: host("b"), Store: store("c"), Nodes: planner.Nodes{Alone: true}},
			pools: []string{"a"}, chosen: "pool-a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var pools []*resources.Pool
			for _, node := range c.pools {
				pools = append(pools, pool(node))
			}
			c.want.Bytes = 1 << 30
			check(t, planner.Pools(c.want, pools), c.chosen, c.check, c.why)
		})
	}
}

func check(t *testing.T, choice resources.Choice, chosen, name string, why map[string]string) {
	t.Helper()
	got := ""
	if choice.Chosen != nil {
		got = choice.Chosen.ID
	}
	if got != chosen {
		t.Errorf("chosen is %q, want %q; refused: %+v", got, chosen, choice.Refused)
	}
	if len(choice.Refused) != len(why) {
		t.Errorf("refused: %+v, want %v", choice.Refused, why)
	}
	for _, r := range choice.Refused {
		if r.Check != name || r.Message != why[r.Candidate.ID] || r.Needed == "" || r.Available == "" {
			t.Errorf("refused: %+v, want %s: %q", r, name, why[r.Candidate.ID])
		}
	}
}
