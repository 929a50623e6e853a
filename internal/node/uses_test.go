package node_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestWhatTakesLongIsCountedNowAndThen: of millions of resources, not all are read for each who asks of a driver.
func TestWhatTakesLongIsCountedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts int
		takes, failure := time.Second, error(nil)
		total := node.Uses(func(*resources.Driver) ([]resources.BoundCount, error) {
			counts++
			time.Sleep(takes)
			return []resources.BoundCount{{Count: counts}, {Count: 1}}, failure
		})
		ask := func(want, times int) {
			t.Helper()
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					if n, err := total("drv-1"); n != want || err != nil {
						t.Errorf("%d are used, %v; want %d", n, err, want)
					}
				})
			}
			all.Wait()
			if counts != times {
				t.Errorf("counted %d times, want %d", counts, times)
			}
		}
		ask(2, 1)
		time.Sleep(19 * time.Second)
		ask(2, 1)
		time.Sleep(time.Second)
		ask(3, 2)
		if n, err := total("drv-2"); n != 4 || err != nil { // of another there is another count
			t.Errorf("%d, %v", n, err)
		}
		time.Sleep(time.Minute)
		failure = errors.New("the disk is gone")
		if _, err := total("drv-1"); !errors.Is(err, failure) {
			t.Errorf("got %v", err)
		}
		takes, failure, counts = 0, nil, 0 // what is counted quickly always is
		for i := range 3 {
			if n, err := total("drv-1"); n != i+2 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
	})
}
