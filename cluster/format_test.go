package cluster_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		commands := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "commands")
		at := time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "at")).UTC()
		gotAt, got, err := cluster.DecodeFrame(cluster.EncodeFrame(at, commands))
		if err != nil || !gotAt.Equal(at) || len(got) != len(commands) {
			t.Fatalf("decoding gives %v, %d commands, %v, want %v, %d", gotAt, len(got), err, at, len(commands))
		}
		for i := range got {
			if !bytes.Equal(got[i], commands[i]) {
				t.Fatalf("command %d is %x, want %x", i, got[i], commands[i])
			}
		}
	})
}

func TestEveryDamageOfAFrameIsFound(t *testing.T) {
	good := cluster.EncodeFrame(time.Unix(1, 2), [][]byte{[]byte("one"), {}, []byte("three")})
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, _, err := cluster.DecodeFrame(bad); !errors.Is(err, cluster.ErrCorrupt) && !errors.Is(err, cluster.ErrVersion) {
			t.Errorf("bit %d flipped: %v", i, err)
		}
	}
	for n := range good {
		if _, _, err := cluster.DecodeFrame(good[:n]); !errors.Is(err, cluster.ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	newer := bytes.Clone(good)
	newer[0] = 4
	_, _, err := cluster.DecodeFrame(newer)
	want(t, "a frame of a newer version", err, cluster.ErrVersion)
}

func TestTaggedFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		commands := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "commands")
		tags := make([]cluster.Tag, len(commands))
		for i := range tags {
			tags[i] = cluster.Tag{Origin: rapid.Uint64().Draw(t, "origin"), Number: rapid.Uint64().Draw(t, "number")}
			if tags[i].Origin == 0 {
				tags[i].Number = 0
			}
		}
		data := cluster.EncodeTaggedFrame(time.Unix(1, 2), commands, tags)
		got, gotTags, err := cluster.DecodeTaggedFrame(data)
		if err != nil || !slices.EqualFunc(got, commands, bytes.Equal) || !slices.Equal(gotTags, tags) {
			t.Fatalf("decoding gives %x, %v, %v, want %x, %v", got, gotTags, err, commands, tags)
		}
		bit := rapid.IntRange(0, len(data)*8-1).Draw(t, "bit")
		data[bit/8] ^= 1 << (bit % 8)
		if _, _, err := cluster.DecodeTaggedFrame(data); err == nil {
			t.Fatalf("bit %d flipped is not noticed", bit)
		}
	})
}

// TestMarkedFrameRoundTrip: frames of zones that have levels say which, and are read like the others.
func TestMarkedFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		commands := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "commands")
		level := rapid.Uint32Min(1).Draw(t, "level")
		var tags []cluster.Tag
		if rapid.Bool().Draw(t, "tagged") {
			tags = make([]cluster.Tag, len(commands))
			for i := range tags {
				tags[i] = cluster.Tag{Origin: rapid.Uint64Min(1).Draw(t, "origin"), Number: rapid.Uint64().Draw(t, "number")}
			}
		}
		data := cluster.EncodeMarkedFrame(time.Unix(1, 2), level, commands, tags)
		got, gotTags, gotLevel, err := cluster.DecodeMarkedFrame(data)
		if err != nil || !slices.EqualFunc(got, commands, bytes.Equal) || !slices.Equal(gotTags, tags) || gotLevel != level {
			t.Fatalf("decoding gives %x, %v, %d, %v, want %x, %v, %d", got, gotTags, gotLevel, err, commands, tags, level)
		}
		if version := data[0]; (version == 3) != (level >= 2) {
			t.Fatalf("level %d is written in version %d", level, version)
		}
		bit := rapid.IntRange(0, len(data)*8-1).Draw(t, "bit")
		data[bit/8] ^= 1 << (bit % 8)
		if _, _, _, err := cluster.DecodeMarkedFrame(data); err == nil {
			t.Fatalf("bit %d flipped is not noticed", bit)
		}
	})
}

func FuzzFrame(f *testing.F) {
	tags := []cluster.Tag{{Origin: 1, Number: 7}, {}}
	f.Add(cluster.EncodeTaggedFrame(time.Unix(1, 2), [][]byte{[]byte("one"), {}}, tags))
	f.Add(cluster.EncodeFrame(time.Unix(1, 2), [][]byte{[]byte("one"), {}, []byte("three")}))
	f.Add(cluster.EncodeMarkedFrame(time.Unix(1, 2), 2, [][]byte{[]byte("one"), {}}, tags))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		at, commands, err := cluster.DecodeFrame(data)
		if err != nil {
			return
		}
		_, again, err := cluster.DecodeFrame(cluster.EncodeFrame(at, commands))
		if err != nil || len(again) != len(commands) {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
	})
}

func envelope(tb testing.TB, content []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	m := cluster.Manifest{Kind: "backup", ClusterID: "c", NodeID: "n", Index: 7, Term: 3, LastTime: time.Unix(9, 0).UTC()}
	if err := cluster.WriteEnvelope(&b, m, content); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 256 << 10, 256<<10 + 1, 1 << 20} {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(rand.Uint32())
		}
		m, got, err := cluster.ReadEnvelope(bytes.NewReader(envelope(t, content)))
		if err != nil || m.Index != 7 || m.ClusterID != "c" || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: got %d bytes of %+v, %v", size, len(got), m, err)
		}
	}
}

func TestEveryDamageOfAnEnvelopeIsFound(t *testing.T) {
	good := envelope(t, []byte("the state of a small zone"))
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, _, err := cluster.ReadEnvelope(bytes.NewReader(bad)); err == nil {
			t.Errorf("bit %d flipped: no error", i)
		}
	}
	for n := range good {
		_, _, err := cluster.ReadEnvelope(bytes.NewReader(good[:n]))
		want(t, "reading a state that was cut", err, cluster.ErrCorrupt)
	}
	_, _, err := cluster.ReadEnvelope(bytes.NewReader(append(good, 0)))
	want(t, "reading a state with a byte more", err, cluster.ErrCorrupt)
}

func FuzzEnvelope(f *testing.F) {
	f.Add(envelope(f, []byte("content")))
	f.Add([]byte("BULKHEAD\x01\x02{}\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, _ = cluster.ReadEnvelope(bytes.NewReader(data))
	})
}
