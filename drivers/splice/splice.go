package splice

import (
	"errors"
	"io"
	"sync"
)

// bufferBytes is what is under way in each direction at most, besides what the kernel holds.
const bufferBytes = 256 << 10

// closeWriter is a connection that can close one of its sides.
type closeWriter interface {
	CloseWrite() error
}

// Join passes on what comes from each of two connections to the other, until both have said all, or one breaks; then it
// closes both. One that has said all can still be told something, if the other has CloseWrite; if not, it ends there.
// It reads no more than it can write. The error is that of what broke.
func Join(a, b io.ReadWriteCloser) error {
	var once sync.Once
	var broken error
	end := func(err error) {
		once.Do(func() {
			broken = err
			_ = a.Close() // what it says no longer matters
			_ = b.Close()
		})
	}
	var both sync.WaitGroup
	both.Go(func() { pass(a, b, end) })
	both.Go(func() { pass(b, a, end) })
	both.Wait()
	end(nil)
	return broken
}

// pass copies from one connection to the other, and the end too.
func pass(from, to io.ReadWriteCloser, end func(error)) {
	// Hidden, so that the copy is done with our buffer and not with the connection's idea of a good one.
	reader, writer := struct{ io.Reader }{from}, struct{ io.Writer }{to}
	if _, err := io.CopyBuffer(writer, reader, make([]byte, bufferBytes)); err != nil {
		end(err)
		return
	}
	half, ok := to.(closeWriter)
	if !ok {
		end(nil)
		return
	}
	if err := half.CloseWrite(); err != nil {
		end(errors.Join(errors.New("passing the end on"), err))
	}
}
