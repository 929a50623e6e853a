package gossip_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip/gossiptest"
)

const seeds = 200

var five = []string{"n1", "n2", "n3", "n4", "n5"}

func hosts(names []string) (all []string) {
	for _, name := range names {
		all = append(all, hostOf(name))
	}
	return all
}

// overSeeds runs a story with five members that know each other, once for each seed, in fake time.
func overSeeds(t *testing.T, story func(t *testing.T, l *lab, random *rand.Rand)) {
	t.Helper()
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(gossiptest.New(seed))
				defer l.closeAll(t)
				l.start(t, five...)
				story(t, l, rand.New(rand.NewPCG(seed, 1)))
			})
		})
	}
}

func others(one string) (left []string) {
	for _, name := range five {
		if name != one {
			left = append(left, name)
		}
	}
	return left
}

// The one that is cut off is dead for the others, and they for it; when the network is whole again they meet without
// help.
func TestPartitionAndHeal(t *testing.T) {
	var detected, isolated, healed time.Duration
	overSeeds(t, func(t *testing.T, l *lab, random *rand.Rand) {
		alone := five[random.IntN(len(five))]
		rest := others(alone)
		time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second))))
		l.network.Isolate(hostOf(alone), hosts(five)...)
		begin := time.Now()
		l.await(t, 5*time.Second, "the others see it dead", func() bool {
			for _, name := range rest {
				if !l.sees(name, gossip.Dead, alone) {
					return false
				}
			}
			return true
		})
		detected = max(detected, time.Since(begin))
		l.await(t, 20*time.Second, "it sees the others dead", func() bool { return l.sees(alone, gossip.Dead, rest...) })
		isolated = max(isolated, time.Since(begin))
		for _, name := range rest {
			if !l.sees(name, gossip.Alive, rest...) {
				t.Errorf("%s does not see the others alive", name)
			}
		}
		if random.IntN(8) == 0 {
			time.Sleep(40 * time.Second) // memberlist has forgotten the dead
		}
		l.network.Heal()
		healed = max(healed, l.await(t, 15*time.Second, "all are alive", func() bool { return l.all(gossip.Alive, five...) }))
	})
	t.Logf("at most: dead for the others %s, others dead for it %s, healed %s", detected, isolated, healed)
}

// A member that gets no CPU for a second is not taken for dead, not even for a moment.
func TestStarvedForASecondIsNotDead(t *testing.T) {
	overSeeds(t, func(t *testing.T, l *lab, random *rand.Rand) {
		for range 2 {
			starved := hostOf(five[random.IntN(len(five))])
			time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
			l.network.Stall(starved)
			time.Sleep(time.Second)
			l.network.Resume(starved)
			time.Sleep(4 * time.Second)
		}
		if n := l.journal.count("member seen", "state=dead"); n != 0 {
			t.Errorf("seen dead %d times:\n%s", n, l.journal)
		}
		l.await(t, 5*time.Second, "all are alive", func() bool { return l.all(gossip.Alive, five...) })
	})
}

// Losing every tenth packet kills nobody.
func TestLossyNetworkKillsNobody(t *testing.T) {
	overSeeds(t, func(t *testing.T, l *lab, _ *rand.Rand) {
		l.network.SetLoss(0.1)
		time.Sleep(10 * time.Second)
		if n := l.journal.count("member seen", "state=dead"); n != 0 {
			t.Errorf("seen dead %d times:\n%s", n, l.journal)
		}
	})
}

// A farewell is told from a death, also where every hundredth packet is lost.
func TestLeave(t *testing.T) {
	overSeeds(t, func(t *testing.T, l *lab, random *rand.Rand) {
		l.network.SetLoss(0.01)
		going := five[random.IntN(len(five))]
		if err := l.members[going].Leave(t.Context()); err != nil {
			t.Errorf("leaving: %v", err)
		}
		if err := l.members[going].Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		l.forget(going)
		l.await(t, 3*time.Second, "it has left", func() bool { return l.all(gossip.Left, going) })

		l.again(t, going, l.names[0])
		l.await(t, 5*time.Second, "it is back", func() bool { return l.all(gossip.Alive, five...) })
	})
}

// Who hears a farewell late, having taken the member for dead, sees that it left. Who hears of the return first does
// not take the farewell of the earlier life for one of this.
func TestFarewellHeardLate(t *testing.T) {
	overSeeds(t, func(t *testing.T, l *lab, random *rand.Rand) {
		order := random.Perm(len(five))
		going, deaf, back := five[order[0]], five[order[1]], random.IntN(2) == 0
		l.network.Isolate(hostOf(deaf), hosts(five)...)
		if err := l.members[going].Leave(t.Context()); err != nil {
			t.Errorf("leaving: %v", err)
		}
		l.members[going].Close()
		l.forget(going)
		if random.IntN(2) == 0 || !back {
			l.await(t, 20*time.Second, "the deaf one sees it dead", func() bool { return l.sees(deaf, gossip.Dead, going) })
		}
		if !back {
			l.network.Heal()
			l.await(t, 30*time.Second, "it has left", func() bool { return l.all(gossip.Left, going) })
			return
		}
		l.again(t, going, five[order[2]])
		l.network.Heal()
		l.await(t, 30*time.Second, "all are there", func() bool { return l.all(gossip.Alive, five...) })
		told := l.journal.count("name="+going, "state=left")
		time.Sleep(30 * time.Second)
		if !l.all(gossip.Alive, five...) || l.journal.count("name="+going, "state=left") != told {
			t.Errorf("a farewell of an earlier life was believed:\n%s", l.journal)
		}
	})
}
