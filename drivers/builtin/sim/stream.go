package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

const (
	lieSuccess        = simfault.LieSuccess
	loseAnswer        = simfault.LoseAnswer
	crashBeforeEffect = simfault.CrashBeforeEffect
	crashAfterEffect  = simfault.CrashAfterEffect
)

// What is said over the stream of a machine that moves, in this order: passenger, word, pages, luggage, word.
type (
	// passenger is who comes.
	passenger struct {
		Machine string `json:"machine"`
		Cpus    uint32 `json:"cpus"`
		Bytes   uint64 `json:"bytes"`
		Pages   int    `json:"pages"`
	}
	// luggage is how the guest stood when it was stopped.
	luggage struct {
		Booted  time.Time     `json:"booted"`
		Ran     time.Duration `json:"ran"`
		Boots   uint32        `json:"boots"`
		Frozen  time.Time     `json:"frozen,omitzero"`
		Started string        `json:"started"`
	}
	// word is an answer: yes, or why not.
	word struct {
		Refused string `json:"refused,omitempty"`
	}
)

// maxWords is the most that one thing said may have.
const maxWords = 16 << 10

var errStrange = errors.New("what comes over the stream is nothing of a machine")

func write(conn io.Writer, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

func read(conn io.Reader, what any) error {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > maxWords {
		return errStrange
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(conn, text); err != nil {
		return err
	}
	return json.Unmarshal(text, what)
}

// page is the nth page of a machine's memory.
func page(machine string, n int) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", machine, n))
	return bytes.Repeat(sum[:], pageBytes/len(sum))
}

// arrives takes the nth page from the stream, if that is what comes.
func arrives(conn io.Reader, machine string, n int) bool {
	came := make([]byte, pageBytes)
	_, err := io.ReadFull(conn, came)
	return err == nil && bytes.Equal(came, page(machine, n))
}

// places are where machines are waited for: unix sockets in a directory or, in a process that has none, names that only
// that process knows.
type places struct {
	dir  string
	done <-chan struct{}

	mutex sync.Mutex
	at    map[simworld.Key]*place
}

type place struct {
	socket   string
	listener net.Listener // nil without a directory
	meet     func(net.Conn)
}

const inMemory = "memory:"

func newPlaces(workDir string, done <-chan struct{}) *places {
	p := &places{done: done, at: map[simworld.Key]*place{}}
	if workDir != "" {
		p.dir = filepath.Join(workDir, "places")
	}
	return p
}

// open waits for a machine, and returns the socket at which it does.
func (p *places) open(ctx context.Context, key simworld.Key, meet func(net.Conn)) (string, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if there, ok := p.at[key]; ok {
		there.meet = meet
		return there.socket, nil
	}
	made := &place{socket: inMemory + key.String(), meet: meet}
	if p.dir != "" {
		if err := made.listen(ctx, filepath.Join(p.dir, hashName("", key.String())+".sock")); err != nil {
			return "", err
		}
		go p.serve(key, made) // ends with the listener
	}
	p.at[key] = made
	return made.socket, nil
}

func (m *place) listen(ctx context.Context, socket string) (err error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o770); err != nil {
		return fmt.Errorf("making the directory of places: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing an old place: %w", err)
	}
	m.socket = socket
	if m.listener, err = (&net.ListenConfig{}).Listen(ctx, "unix", socket); err != nil {
		return fmt.Errorf("opening a place: %w", err)
	}
	return nil
}

func (p *places) serve(key simworld.Key, made *place) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.done:
			p.close(key)
		case <-stop:
		}
	}()
	for {
		conn, err := made.listener.Accept()
		if err != nil {
			return
		}
		p.mutex.Lock()
		meet := made.meet
		p.mutex.Unlock()
		go meet(conn) // ends with the connection
	}
}

// close waits for the machine no more.
func (p *places) close(key simworld.Key) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if there, ok := p.at[key]; ok && there.listener != nil {
		_ = there.listener.Close()
	}
	delete(p.at, key)
}

// dial connects to a place.
func (p *places) dial(ctx context.Context, socket string) (net.Conn, error) {
	p.mutex.Lock()
	for _, there := range p.at {
		if there.socket == socket && there.listener == nil {
			here, far := net.Pipe()
			go there.meet(far) // ends with the connection
			p.mutex.Unlock()
			return here, nil
		}
	}
	p.mutex.Unlock()
	return (&net.Dialer{}).DialContext(ctx, "unix", socket)
}
