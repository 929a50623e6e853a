package sealing

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// header is how all that age encrypts begins.
const header = "age-encryption.org/"

// Errors of Open and of reading what it returns, matched with errors.Is.
var (
	// ErrSealed says that something is encrypted and no identity was given.
	ErrSealed = errors.New("encrypted")
	// ErrNotForUs says that something is encrypted to recipients none of whom was given as an identity.
	ErrNotForUs = errors.New("encrypted to others")
	// ErrDamaged says that something that is encrypted is cut off, or not as it was written.
	ErrDamaged = errors.New("damaged")
)

// Write seals to the recipients what content writes, and writes it to w as it comes. To no recipients nothing is
// sealed: content writes to w itself. If content fails, what was written is cut off, and opening it says so.
func Write(w io.Writer, to Recipients, content func(io.Writer) error) error {
	if len(to.keys) == 0 {
		return content(w)
	}
	sealed, err := age.Encrypt(w, to.keys...)
	if err != nil {
		return fmt.Errorf("encrypting: %w", err)
	}
	if err := content(sealed); err != nil {
		return err
	}
	if err := sealed.Close(); err != nil {
		return fmt.Errorf("encrypting: %w", err)
	}
	return nil
}

// Open returns a reader of what was written before it was sealed; of r itself, if r is not sealed. What is read has
// been verified up to there, and all of it once the reader says io.EOF. Errors, also of the reader: ErrSealed,
// ErrNotForUs, ErrDamaged, and those of r.
func Open(r io.Reader, identities Identities) (content io.Reader, sealed bool, err error) {
	from := &source{r: r}
	in := bufio.NewReader(from)
	begin, err := in.Peek(len(header))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("reading: %w", err)
	}
	if !bytes.Equal(begin, []byte(header)) {
		return in, false, nil
	}
	if len(identities.keys) == 0 {
		return nil, true, ErrSealed
	}
	opened, err := age.Decrypt(in, identities.keys...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, true, fmt.Errorf("%w: %w", ErrNotForUs, err)
	}
	if err != nil {
		return nil, true, from.explain(err)
	}
	return &reader{opened, from}, true, nil
}

// source keeps apart what goes wrong with reading from what is wrong with what is read.
type source struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explain says why age could not go on.
func (s *source) explain(err error) error {
	if s.err != nil {
		return fmt.Errorf("reading: %w", s.err)
	}
	return fmt.Errorf("%w: %v", ErrDamaged, err) //nolint:errorlint // too early an end must not look like one
}

// reader reads what was sealed.
type reader struct {
	opened io.Reader
	from   *source
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.opened.Read(p)
	if err != nil && err != io.EOF {
		return n, r.from.explain(err)
	}
	return n, err
}
