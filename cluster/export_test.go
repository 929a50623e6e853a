package cluster

import (
	"errors"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// OpenPeer opens one node of several.
func OpenPeer(cfg Config, transport raft.Transport, servers raft.Configuration) (*Node, error) {
	return open(cfg, founding{transport: transport, servers: servers})
}

// SetClock replaces the clock that frames are stamped with.
func (n *Node) SetClock(now func() time.Time) { n.clock.now = now }

// SetDiskSpace replaces what the file system says.
func (n *Node) SetDiskSpace(space func(string) (free, total uint64, err error)) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.space, n.disk.checked = space, time.Time{}
}

// FillDisk has the disk be full, or empty.
func (n *Node) FillDisk(full bool) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.low, n.disk.checked = 1, time.Time{}
	n.disk.space = func(string) (free, total uint64, err error) {
		if full {
			return 0, 1, nil
		}
		return 1, 1, nil
	}
}

// Raft gives raft, to ask it what a Node does not say.
func (n *Node) Raft() *raft.Raft { return n.raft }

// Stall has f called before each append to the log.
func (n *Node) Stall(f func()) { n.store.stall.Store(&f) }

// AnswerAfterSnapshot has a proposal answered by the leader after the state was replaced by a snapshot that has it.
func AnswerAfterSnapshot() (answered bool) {
	f := newForwarder(nil)
	p := newProposal([]byte("x"), false)
	f.register(&stream{node: "l", cancel: func() {}}, []*proposal{p}, func() {})
	f.skipped(100)
	f.answered(&clusterpb.Answer{Number: 1, Index: 50})
	select {
	case a := <-p.done:
		return errors.Is(a.err, ErrUnknownOutcome)
	default:
		return false
	}
}

// DecodeFrame decodes and encodes again.
func DecodeFrame(data []byte) (at time.Time, commands [][]byte, err error) {
	f, err := decodeFrame(data)
	return f.at, f.commands, err
}

// EncodeFrame encodes a frame.
func EncodeFrame(at time.Time, commands [][]byte) []byte {
	return encodeFrame(frame{at: at, commands: commands})
}

// Tag says who proposed a command.
type Tag struct{ Origin, Number uint64 }

// EncodeTaggedFrame encodes a frame of the second version.
func EncodeTaggedFrame(at time.Time, commands [][]byte, tags []Tag) []byte {
	f := frame{at: at, commands: commands, tags: []tag{}}
	for _, t := range tags {
		f.tags = append(f.tags, tag{t.Origin, t.Number})
	}
	return encodeFrame(f)
}

// DecodeTaggedFrame decodes a frame of the second version.
func DecodeTaggedFrame(data []byte) (commands [][]byte, tags []Tag, err error) {
	f, err := decodeFrame(data)
	for _, t := range f.tags {
		tags = append(tags, Tag{t.origin, t.number})
	}
	return f.commands, tags, err
}

// EncodeMarkedFrame encodes a frame of a zone of some level.
func EncodeMarkedFrame(at time.Time, level uint32, commands [][]byte, tags []Tag) []byte {
	f := frame{at: at, commands: commands, level: level}
	for _, t := range tags {
		f.tags = append(f.tags, tag{t.Origin, t.Number})
	}
	return encodeFrame(f)
}

// DecodeMarkedFrame decodes a frame with its level.
func DecodeMarkedFrame(data []byte) (commands [][]byte, tags []Tag, level uint32, err error) {
	f, err := decodeFrame(data)
	for _, t := range f.tags {
		tags = append(tags, Tag{t.origin, t.number})
	}
	return f.commands, tags, f.level, err
}

// WriteEnvelope writes an envelope with content.
func WriteEnvelope(w io.Writer, m Manifest, content []byte) error {
	e, err := newEnvelopeWriter(w, m, nil)
	if err != nil {
		return err
	}
	if _, err := e.Write(content); err != nil {
		return err
	}
	return e.close()
}

// ReadEnvelope reads an envelope.
func ReadEnvelope(r io.Reader) (m Manifest, content []byte, err error) {
	e, err := newEnvelopeReader(r)
	if err != nil {
		return m, nil, err
	}
	content, err = io.ReadAll(e)
	return e.manifest, content, err
}

// GuardStore returns raft's stores as a node guards them, and whether they are in use by raft's goroutines.
func GuardStore(logs raft.LogStore, stable raft.StableStore, running bool, fail func(error)) interface {
	raft.LogStore
	raft.StableStore
} {
	s := &guardedStore{logs: logs, stable: stable, fail: fail}
	s.running.Store(running)
	return s
}

// OpenLog opens the log of a node's directory.
func OpenLog(dir string, segmentBytes int) (logs raft.LogStore, closeLog func() error, err error) {
	s, err := openDisk(dir, Config{SegmentBytes: segmentBytes}, newRaftLogger(discardLog()))
	return s.logs, s.close, err
}

// ScanTail scans a segment.
func ScanTail(content []byte) (end, entries, indexStart int, err error) {
	t, err := scanTail(content)
	return t.end, t.entries, t.indexStart, err
}

// Telling makes a pipeline to a follower one that is told what is agreed on, by agreed.
func Telling(p raft.AppendPipeline) (telling raft.AppendPipeline, agreed func(index, term uint64)) {
	w := newWord()
	t := newTeller(p, w)
	go t.loop()
	return t, w.on
}

// What calm writing goes by.
const (
	EnvelopePiece = envelopePiece
	CalmShare     = calmShare
)

// CalmWriter is what a snapshot that the node takes by itself is written through.
func CalmWriter(to io.Writer, hurry func() bool, stopping <-chan struct{}) io.Writer {
	return &calmWriter{to: to, resumed: time.Now(), hurry: hurry, stopping: stopping}
}

// LatelyBytes bounds what Lately keeps, beside the last append.
const LatelyBytes = latelyBytes

// Lately are the entries that were appended last.
type Lately struct{ lately }

// Add takes entries that were appended.
func (l *Lately) Add(logs []*raft.Log) { l.add(logs) }

// Get copies an entry into log, and says whether it is there.
func (l *Lately) Get(index uint64, log *raft.Log) bool { return l.get(index, log) }

// Forget drops all entries.
func (l *Lately) Forget() { l.forget() }

// ForgetToLead has the node not know that it leads.
func (n *Node) ForgetToLead() { n.leadership.set(0, 0, 0) }
