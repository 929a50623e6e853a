package fence_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/fence"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const shards = 8

func config(path string) fence.Config {
	return fence.Config{Path: path, Scope: "c1", Shards: shards, ShardOf: shardOf}
}

// shardOf has the id say which shard it is in.
func shardOf(_, id string) int {
	n, _ := strconv.Atoi(id)
	return n % shards
}

func open(t testing.TB, c fence.Config) *fence.Fence {
	t.Helper()
	f, _, err := fence.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func admit(t testing.TB, f *fence.Fence, id string, epoch uint64) (passed bool) {
	t.Helper()
	err := f.Admit(t.Context(), "volume", id, epoch)
	if fault := sdk.FaultOf(err); err != nil &&
		(fault.GetClass() != driverpb.Class_CLASS_FENCED || fault.GetCode() != "stale-epoch") {
		t.Fatalf("epoch %d of %s: %v", epoch, id, err)
	}
	return err == nil
}

func TestLowerEpochsAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "epochs")
	f := open(t, config(path))
	for i, c := range []struct {
		id     string
		epoch  uint64
		passes bool
	}{
		{"1", 0, true},
		{"1", 5, true},
		{"1", 5, true},
		{"1", 4, false},
		{"1", 0, false},
		{"9", 4, false},
		{"9", 6, true},
		{"1", 5, false}, // of the same shard
		{"2", 1, true},
	} {
		if passed := admit(t, f, c.id, c.epoch); passed != c.passes {
			t.Errorf("call %d: epoch %d of %s passed: %t", i, c.epoch, c.id, passed)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Admit(t.Context(), "volume", "1", 7); sdk.FaultOf(err).GetCode() != "fence-unavailable" {
		t.Errorf("a raise after the end: %v", err)
	}
	f = open(t, config(path))
	if admit(t, f, "1", 5) || !admit(t, f, "1", 6) || admit(t, f, "2", 0) || !admit(t, f, "3", 0) {
		t.Error("it does not remember what it did before")
	}
}

func TestAnotherScopeAndOtherShards(t *testing.T) {
	path := filepath.Join(t.TempDir(), "epochs")
	f := open(t, config(path))
	admit(t, f, "1", 50)
	admit(t, f, "2", 40)
	f.Close()
	more := config(path)
	more.Shards = 2 * shards
	f = open(t, more)
	for id := range 2 * shards {
		if admit(t, f, strconv.Itoa(id), 49) || !admit(t, f, strconv.Itoa(id), 50) {
			t.Errorf("with other shards %d does not start above all of before", id)
		}
	}
	f.Close()
	other := config(path)
	other.Scope = "c2"
	f = open(t, other)
	if !admit(t, f, "1", 1) {
		t.Error("the epochs of another cluster are in force")
	}
}

// Whatever part of the last write a loss of power leaves: what was durable before is remembered, and no epoch is made
// up.
func TestTornWrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "epochs")
	f := open(t, config(path))
	for id := range shards {
		admit(t, f, strconv.Itoa(id), 10)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	admit(t, f, "3", 11)
	admit(t, f, "4", 12)
	after, err := os.ReadFile(path)
	if err != nil || len(after) <= len(before) {
		t.Fatalf("%d bytes, before %d, %v", len(after), len(before), err)
	}
	for length := len(before); length <= len(after); length++ {
		for name, change := range map[string]func([]byte){
			"cut": func([]byte) {},
			"zeros in front": func(tail []byte) {
				clear(tail[:len(tail)/2])
			},
			"junk behind": func(tail []byte) {
				for i := len(tail) / 2; i < len(tail); i++ {
					tail[i] ^= 0x5a
				}
			},
		} {
			data := bytes.Clone(after[:length])
			change(data[len(before):])
			torn := filepath.Join(dir, fmt.Sprint(name, length))
			if err := os.WriteFile(torn, data, 0o600); err != nil {
				t.Fatal(err)
			}
			g := open(t, config(torn))
			for id := range shards {
				if admit(t, g, strconv.Itoa(id), 9) || id != 3 && id != 4 && !admit(t, g, strconv.Itoa(id), 10) {
					t.Errorf("%s at %d: shard %d is not at 10", name, length, id)
				}
			}
			if !admit(t, g, "3", 11) || !admit(t, g, "4", 12) {
				t.Errorf("%s at %d: an epoch was made up", name, length)
			}
			g.Close()
		}
	}
	for length := range len(before) - shards*16 {
		if err := os.WriteFile(path+"-head", before[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := fence.Open(config(path + "-head")); !errors.Is(err, fence.ErrDamaged) {
			t.Errorf("a header of %d bytes: %v", length, err)
		}
	}
}

// Many at once: who passed is durable, what was passed over is refused, and the file stays small.
func TestManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "epochs")
	f := open(t, config(path))
	var epochs [shards]atomic.Uint64
	var callers sync.WaitGroup
	for caller := range 16 {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(caller), 1))
			for range 100 {
				id := random.IntN(shards)
				epoch := epochs[id].Add(uint64(random.IntN(2)))
				low := epochs[id].Load()
				if err := f.Admit(t.Context(), "volume", strconv.Itoa(id), epoch); err != nil {
					if sdk.FaultOf(err).GetCode() != "stale-epoch" || epoch > low && epochs[id].Load() == epoch {
						t.Errorf("epoch %d: %v", epoch, err)
					}
					continue
				}
				data, err := os.ReadFile(path)
				if err != nil {
					t.Error(err)
					return
				}
				if _, kept, _, err := fence.Decode(data); err != nil || kept[uint32(id)] < epoch {
					t.Errorf("a call with epoch %d passed, and the file says %v, %v", epoch, kept, err)
				}
			}
		})
	}
	callers.Wait()
	if info, err := os.Stat(path); err != nil || info.Size() > 64+16*4*shards {
		t.Errorf("the file: %v, %v", info.Size(), err)
	}
}

// A disk that cannot be written to lets nothing new pass, and all again when it can.
func TestWithoutADisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "epochs")
	f := open(t, config(path))
	if err := f.Break(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := f.Admit(t.Context(), "volume", "1", 5)
		if sdk.FaultOf(err).GetCode() != "fence-unavailable" {
			t.Errorf("without a disk: %v", err)
		}
	}
	if admit(t, f, "1", 4) {
		t.Error("an older call passed than one that waits for the disk")
	}
	if err := os.Rename(dir+"2", dir); err != nil {
		t.Fatal(err)
	}
	if !admit(t, f, "1", 5) {
		t.Error("it does not recover")
	}
	f.Close()
	if f = open(t, config(path)); admit(t, f, "1", 4) {
		t.Error("it forgot")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Admit(ctx, "volume", "1", 5); err != nil {
		t.Errorf("what is durable waits for nothing: %v", err)
	}
}

func FuzzFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "epochs")
	one := open(f, config(path))
	for id := range 4 {
		admit(f, one, strconv.Itoa(id), uint64(id)<<40)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-3])
	f.Add([]byte("BHFENCE1\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		scope, highest, again, err := fence.Decode(data)
		if err != nil {
			return
		}
		scope2, highest2, _, err := fence.Decode(again)
		if err != nil || scope2 != scope || !maps.Equal(highest, highest2) {
			t.Errorf("%q %v became %q %v, %v", scope, highest, scope2, highest2, err)
		}
	})
}

// What a call costs that raises nothing, and one that does, alone and with 64 others at the same time.
func BenchmarkAdmit(b *testing.B) {
	b.Run("known", func(b *testing.B) {
		f := open(b, config(filepath.Join(b.TempDir(), "epochs")))
		admit(b, f, "1", 5)
		b.ReportAllocs()
		for b.Loop() {
			if err := f.Admit(b.Context(), "volume", "1", 5); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("raise-", callers), func(b *testing.B) {
			c := config(filepath.Join(b.TempDir(), "epochs"))
			c.Shards = 256
			c.ShardOf = func(_, id string) int { n, _ := strconv.Atoi(id); return n }
			f := open(b, c)
			var next atomic.Uint64
			b.SetParallelism(callers)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					n := next.Add(1)
					_ = f.Admit(b.Context(), "volume", strconv.Itoa(int(n)%256), n)
				}
			})
		})
	}
}
