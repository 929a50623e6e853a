package cluster_test

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

func TestLately(t *testing.T) {
	var l cluster.Lately
	var got raft.Log
	if l.Get(1, &got) {
		t.Error("there is an entry where none was appended")
	}
	appended := func(first, last uint64, bytes int) {
		var logs []*raft.Log
		for i := first; i <= last; i++ {
			logs = append(logs, &raft.Log{Index: i, Term: first, Data: make([]byte, bytes)})
		}
		l.Add(logs)
	}
	has := func(first, last uint64) {
		t.Helper()
		for i := first; i <= last; i++ {
			if !l.Get(i, &got) || got.Index != i {
				t.Errorf("entry %d is not there: %d", i, got.Index)
			}
		}
		if l.Get(first-1, &got) || l.Get(last+1, &got) {
			t.Errorf("there are entries before %d or behind %d", first, last)
		}
	}
	appended(5, 7, 10)
	appended(8, 8, 10)
	has(5, 8)
	appended(7, 9, 10) // others took their place
	has(7, 9)
	if l.Get(7, &got); got.Term != 7 {
		t.Errorf("entry 7 is of term %d", got.Term)
	}
	l.Forget()
	if l.Get(8, &got) {
		t.Error("an entry is there that was forgotten")
	}
	for i := range uint64(6) {
		appended(10+i, 10+i, 1<<20)
	}
	has(12, 15)
	appended(16, 17, cluster.LatelyBytes)
	has(16, 17)
}
