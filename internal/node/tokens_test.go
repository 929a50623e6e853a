package node_test

import (
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestATokenThatChangedIsReadAgain: what lets requests in is never older than what was answered.
func TestATokenThatChangedIsReadAgain(t *testing.T) {
	codec, err := persistence.NewCodec(resources.NewVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	machine, err := persistence.Open(memstore.New(), codec)
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(0)
	apply := func(cmd persistence.Command) {
		t.Helper()
		data, err := codec.EncodeCommand(cmd)
		if err != nil {
			t.Fatal(err)
		}
		index++
		results, err := machine.Apply([]persistence.Entry{{Index: index, At: time.Now(), Commands: [][]byte{data}}})
		if err != nil || results[0][0].Err != nil {
			t.Fatal(err, results)
		}
	}
	token := &resources.Token{Meta: resources.Meta{Kind: resources.KindToken, ID: "tok-1", Name: "a"}}
	doc, err := codec.Seal(token)
	if err != nil {
		t.Fatal(err)
	}
	apply(&persistence.Bootstrap{Documents: []*persistence.Document{doc}})
	known := node.NewTokens(machine)
	if found, _ := known.Find("tok-1"); found != nil {
		t.Error("a token is known that nobody read")
	}
	before := machine.Changes(resources.KindToken)
	known.Keep(token, before)
	if found, revision := known.Find("tok-1"); found != token || revision != index {
		t.Errorf("Find() = %v at %d, want the token that was read, at %d", found, revision, index)
	}
	if found, _ := known.Find("tok-2"); found != nil {
		t.Error("a token is taken for another")
	}
	apply(&persistence.Suspend{Ref: token.Ref(), Suspended: true})
	if found, _ := known.Find("tok-1"); found != nil {
		t.Error("a token is known as it was before it changed")
	}
	known.Keep(token, before) // read before it changed
	if found, _ := known.Find("tok-1"); found != nil {
		t.Error("a token is known as somebody read it before it changed")
	}
}
