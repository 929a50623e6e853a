package drivertest

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
)

// Bounds of what is remembered of the calls of a check.
const (
	journalCalls  = 400
	reportedCalls = 12
	reportedChars = 2000
	// shortestSecret is what is looked for in other words without finding it in all of them.
	shortestSecret = 4
)

// journal remembers the calls of a check: what was asked and answered.
type journal struct {
	mutex   sync.Mutex
	began   time.Time
	entries []*entry
}

// entry is a call. Its fields below the line are set once it has ended.
type entry struct {
	at      time.Time
	method  string
	request proto.Message

	took    time.Duration
	replies []proto.Message
	err     error
	ended   bool
}

func newJournal() *journal { return &journal{began: time.Now()} }

func (j *journal) begin(method string, request proto.Message) *entry {
	one := &entry{at: time.Now(), method: method}
	if request != nil {
		one.request = proto.Clone(request)
	}
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.entries = append(j.entries, one)
	if extra := len(j.entries) - journalCalls; extra > 0 {
		j.entries = append(j.entries[:0:0], j.entries[extra:]...)
	}
	return one
}

func (j *journal) answered(one *entry, reply proto.Message) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	one.replies = append(one.replies, reply)
}

func (j *journal) end(one *entry, err error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	one.err, one.ended, one.took = err, true, time.Since(one.at)
}

// replies lists all that the driver answered, faults as well.
func (j *journal) replies() (all []proto.Message) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	for _, one := range j.entries {
		all = append(all, one.replies...)
		if fault := faultOf(one.err); fault != nil {
			all = append(all, fault)
		}
	}
	return all
}

// tell writes the last calls before a moment down, without secrets.
func (j *journal) tell(before time.Time) []report.Exchange {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	secrets := map[string]bool{}
	for _, one := range j.entries {
		for _, secret := range secretsOf(one.request) {
			secrets[secret] = true
		}
	}
	all := []report.Exchange{}
	last := slices.DeleteFunc(slices.Clone(j.entries), func(one *entry) bool { return one.at.After(before) })
	for _, one := range last[max(len(last)-reportedCalls, 0):] {
		told := report.Exchange{
			Method: path.Base(path.Dir(one.method))[len("bulkhead.driver.v1."):] + "." + path.Base(one.method),
			Asked:  written(one.request, secrets), At: one.at.Sub(j.began).Seconds(), Took: one.took.Seconds(),
		}
		for _, reply := range one.replies {
			told.Answered += written(reply, secrets)
		}
		switch {
		case !one.ended:
			told.Error = "(no answer yet)"
		case one.err != nil:
			told.Error = hide(errorText(one.err), secrets)
		}
		all = append(all, told)
	}
	return all
}

// errorText is an error with its fault.
func errorText(err error) string {
	fault := faultOf(err)
	if fault == nil {
		return "without a Fault: " + err.Error()
	}
	return status.Code(err).String() + " " + written(fault, nil)
}

func secretsOf(request proto.Message) (all []string) {
	if request == nil {
		return nil
	}
	from := map[string]string{}
	if holder, ok := request.(interface{ GetSecrets() map[string]string }); ok {
		from = holder.GetSecrets()
	} else if call := callOf(request); call != nil {
		from = call.GetSecrets()
	}
	for _, secret := range from {
		if len(secret) >= shortestSecret {
			all = append(all, secret)
		}
	}
	return all
}

// written is a message as JSON, bounded.
func written(message proto.Message, secrets map[string]bool) string {
	if message == nil {
		return ""
	}
	text, err := protojson.MarshalOptions{}.Marshal(message)
	if err != nil {
		return err.Error()
	}
	return hide(string(text), secrets)
}

func hide(text string, secrets map[string]bool) string {
	for secret := range secrets {
		text = strings.ReplaceAll(text, secret, "(secret)")
	}
	if len(text) > reportedChars {
		text = strings.ToValidUTF8(text[:reportedChars], "") + "..."
	}
	return text
}

// journalled is a connection whose calls are remembered.
type journalled struct {
	grpc.ClientConnInterface
	journal *journal
}

// Invoke implements grpc.ClientConnInterface.
func (c journalled) Invoke(
	ctx context.Context, method string, request, reply any, options ...grpc.CallOption,
) error {
	message, _ := request.(proto.Message)
	one := c.journal.begin(method, message)
	err := c.ClientConnInterface.Invoke(ctx, method, request, reply, options...)
	if answer, ok := reply.(proto.Message); ok && err == nil {
		c.journal.answered(one, answer)
	}
	c.journal.end(one, err)
	return err
}

// NewStream implements grpc.ClientConnInterface.
func (c journalled) NewStream(
	ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, description, method, options...)
	one := c.journal.begin(method, nil)
	if err != nil {
		c.journal.end(one, err)
		return nil, err
	}
	return &journalledStream{ClientStream: stream, journal: c.journal, entry: one}, nil
}

type journalledStream struct {
	grpc.ClientStream
	journal *journal
	entry   *entry
}

// SendMsg implements grpc.ClientStream.
func (s *journalledStream) SendMsg(message any) error {
	if request, ok := message.(proto.Message); ok {
		s.journal.mutex.Lock()
		s.entry.request = proto.Clone(request)
		s.journal.mutex.Unlock()
	}
	return s.ClientStream.SendMsg(message)
}

// RecvMsg implements grpc.ClientStream.
func (s *journalledStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	switch reply, ok := message.(proto.Message); {
	case errors.Is(err, io.EOF):
		s.journal.end(s.entry, nil)
	case err != nil:
		s.journal.end(s.entry, err)
	case ok:
		s.journal.answered(s.entry, reply)
	}
	return err
}
